"""Plans that a tuning found, remembered under what they were found for.

One JSON file a plan, in the user's cache directory (the environment variable ``HAL_CACHE`` names another). A plan is
an answer only where everything is as it was: device, driver, framework and workload. Otherwise it is a start for the
next tuning.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optree
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hal.contract import Backend
from hal.contract.device import Device, Hardware
from hal.contract.plan import Plan
from hal.errors import ConfigError, NotFoundError
from hal.measure import Estimate
from hal.nn import Model
from hal.util.files import make_folder, write_whole
from hal.util.paths import user_path
from hal.workload import Workload

__all__ = [
    "Fingerprint",
    "StoredPlan",
    "cache_folder",
    "export_plans",
    "find",
    "import_plans",
    "nearest",
    "remember",
    "stored",
]

_STRICT = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Hardware):
    """What a plan's speed depends on. Two equal ones promise that a plan measured under one holds under the other.

    Attributes:
        versions: versions of the framework and its runtime.
        model: name of the model.
        mode: what is done with the model.
        input_shape: shape of the training inputs.
        structure: digest of the names and shapes of the parameters and of the model's keys.
    """

    versions: dict[str, str]
    model: str
    mode: Literal["train", "infer"]
    input_shape: tuple[int, ...]
    structure: str

    @classmethod
    def of(cls, backend: Backend, device: Device, workload: Workload, model: Model) -> Fingerprint:
        """The fingerprint of a workload on a device."""
        shapes = [
            (path, list(np.shape(leaf) if not hasattr(leaf, "shape") else leaf.shape))
            for path, leaf in zip(*_paths(model), strict=True)
        ]
        held = json.dumps([shapes, workload.keys], sort_keys=True, default=str)
        return cls(
            **{each.name: getattr(device, each.name) for each in fields(Hardware)},
            versions=backend.versions(),
            model=workload.model,
            mode=workload.mode,
            input_shape=workload.input_shape,
            structure=hashlib.sha256(held.encode()).hexdigest()[:16],
        )

    @property
    def digest(self) -> str:
        """A short name of it."""
        return hashlib.sha256(TypeAdapter(Fingerprint).dump_json(self)).hexdigest()[:16]

    def differences(self, other: Fingerprint) -> dict[str, tuple[Any, Any]]:
        """The fields in which two differ, with both values."""
        pairs = {each.name: (getattr(self, each.name), getattr(other, each.name)) for each in fields(self)}
        return {name: (mine, theirs) for name, (mine, theirs) in pairs.items() if mine != theirs}


class StoredPlan(BaseModel):
    """A plan with what it was found for and how good it was there."""

    model_config = _STRICT

    schema_version: Literal[1] = 1
    fingerprint: Fingerprint
    objective: str = Field(description="Objective for which the plan is the best, for example throughput.")
    plan: Plan
    throughput: Estimate
    over_default: Estimate | None = None
    when: str
    hal_version: str
    folder: str = Field(
        default="", description="Folder of the tuning that found the plan, on the machine where it ran."
    )


def cache_folder() -> Path:
    """Where plans are remembered: ``HAL_CACHE``, or the user's cache directory."""
    import platformdirs

    chosen = os.environ.get("HAL_CACHE")
    return (user_path(chosen) if chosen else Path(platformdirs.user_cache_dir("hal"))) / "plans"


def remember(plan: StoredPlan) -> Path:
    """Write a plan; one that was found before for the same fingerprint and objective gives way."""
    folder = make_folder(cache_folder())
    path = folder / f"{plan.fingerprint.model.rpartition('/')[2].replace(':', '-')}-{plan.fingerprint.mode}"
    path = path.with_name(f"{path.name}-{plan.fingerprint.backend}-{plan.objective}-{plan.fingerprint.digest}.json")
    write_whole(path, (plan.model_dump_json(indent=1) + "\n").encode())
    return path


def stored() -> tuple[StoredPlan, ...]:
    """All plans that are remembered here, the latest first; files that this version cannot read are left out."""
    found = []
    folder = cache_folder()
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found.append(StoredPlan.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            continue
    return tuple(sorted(found, key=lambda each: each.when, reverse=True))


def find(fingerprint: Fingerprint, objective: str | None = None) -> StoredPlan | None:
    """The plan for exactly this; the default objective is what was tuned for last."""
    same = (p for p in stored() if p.fingerprint == fingerprint and objective in (None, p.objective))
    return next(same, None)


def nearest(fingerprint: Fingerprint) -> tuple[StoredPlan, ...]:
    """Plans for the same model and mode under another fingerprint, the one with the fewest differences first."""
    near = [
        p
        for p in stored()
        if p.fingerprint != fingerprint
        and (p.fingerprint.model, p.fingerprint.mode) == (fingerprint.model, fingerprint.mode)
    ]
    return tuple(sorted(near, key=lambda p: len(fingerprint.differences(p.fingerprint))))


def export_plans(path: Path, plans: Iterable[StoredPlan]) -> int:
    """Write plans into one file, to share; how many."""
    each = [plan.model_dump(mode="json") for plan in plans]
    make_folder(path.parent)
    write_whole(path, (json.dumps({"schema_version": 1, "plans": each}, indent=1) + "\n").encode())
    return len(each)


def import_plans(path: Path) -> tuple[StoredPlan, ...]:
    """Remember the plans of a file that :func:`export_plans` wrote.

    Raises:
        NotFoundError: it cannot be read.
        ConfigError: it is no such file.
    """
    try:
        held = json.loads(path.read_bytes())
        plans = [StoredPlan.model_validate(each) for each in held["plans"]]
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}", fix="check the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} contains no plans: {str(error).splitlines()[0]}",
            fix="give a file that hal plans --export FILE wrote",
        ) from error
    for plan in plans:
        remember(plan)
    return tuple(plans)


def _paths(model: Model) -> tuple[list[str], list[Any]]:
    specs: Mapping[str, Any] = {"params": model.params(), "state": model.state()}
    paths: list[Any]
    leaves: list[Any]
    paths, leaves, _ = optree.tree_flatten_with_path(specs)  # type: ignore[arg-type]
    return ["/".join(map(str, path)) for path in paths], leaves
