"""Configuration: the keys that commands share, and how they are read; see :mod:`hal.errors` for what can be wrong."""

from hal.config.keys import (
    LARGEST_SEED,
    LONGEST_S,
    DataSection,
    JobConfig,
    Keys,
    ModelSection,
    NamedSection,
    OptimizerSection,
    PlanKeys,
    constrained,
    keys_like,
    plan_keys,
)
from hal.config.reading import annotation_of, build, explain, known_keys, read, section_of, with_types
from hal.util.passwords import without_password

__all__ = [
    "LARGEST_SEED",
    "LONGEST_S",
    "DataSection",
    "JobConfig",
    "Keys",
    "ModelSection",
    "NamedSection",
    "OptimizerSection",
    "PlanKeys",
    "annotation_of",
    "build",
    "constrained",
    "explain",
    "keys_like",
    "known_keys",
    "plan_keys",
    "read",
    "section_of",
    "with_types",
    "without_password",
]
