"""Keys of ``hal tune``."""

from __future__ import annotations

import difflib
import re
from typing import Any, Literal, get_args, get_origin

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from hal.config import LONGEST_S, JobConfig, Keys, PlanKeys, constrained, keys_like
from hal.contract.plan import LARGEST_COUNT, Plan
from hal.errors import ConfigError, UnsupportedError

__all__ = ["ConstraintSection", "SpaceSection", "TuneConfig"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SPANS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _bytes(value: Any) -> Any:
    """A number of bytes, also as 512M or 8GB; a number of another kind is left to the validation."""
    found = re.fullmatch(r"([0-9.]{1,30})\s*([kmgt]?)(i?b)?", str(value).strip().lower())
    return min(int(min(float(found[1]), 2.0**63) * _UNITS[found[2]]), 2**63) if found else _number(value, "8GB")


def _seconds(value: Any) -> Any:
    """A number of seconds, also as 90s, 8m or 1h; a number of another kind is left to the validation."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|)", str(value).strip().lower())
    return float(found[1]) * _SPANS[found[2]] if found else _number(value, "90s, 8m or 1h")


def _number(value: Any, example: str) -> Any:
    """A value that may be a number; text that is none is refused, because pydantic would not name the units."""
    try:
        float(value if isinstance(value, str) else 0)
    except ValueError:
        raise ValueError(f"write a number, alone or with a unit, such as {example}") from None
    return value


def _listed(value: Any) -> Any:
    found = value if value is None or isinstance(value, (list, tuple)) else [value]
    if any(isinstance(each, bool) for each in found or ()):
        raise ValueError("true and false are not values of a plan key")
    return found


_LIMIT_S, _BUILD_LIMIT_S = 90.0, 45.0
_MEASURED = ("backend", "device", "seconds", "finalists")
"""Keys that cannot be combined with ``target``, since nothing runs there."""


SAMPLERS = ("hal", "tpe", "gp", "random", "brute")
_NO_SAMPLER = {
    ("nsgaii", "nsga2", "nsgaiii", "nsga3"): "the sampler NSGA-II needs generations of 50 trials, and a tuning has "
    "few trials in all; use hal, which also finds Pareto fronts",
    (
        "cmaes",
        "cma",
    ): "the sampler CMA-ES chooses among numbers alone, and most plan keys have names as values; use hal or gp",
    ("qmc", "sobol", "halton"): "the sampler QMC spreads points over ranges of numbers, and most plan keys have names "
    "as values; use random",
    ("grid", "bruteforce", "exhaustive", "all"): "no sampler has this name; did you mean brute?",
    ("bayesian", "bo", "gpsampler"): "no sampler has this name; did you mean gp?",
    ("tpesampler", "optuna"): "no sampler has this name; did you mean tpe?",
}
"""Names that people know from elsewhere, and what is said of each."""

_UNSET = {
    "batch": "sizes around the model's own, for example [32,64,128]",
    "precision": "fp32 and the precisions that the hardware accelerates",
    "heap": "only the device's default",
    "threads": "1, half the cores, and null (the framework's own choice)",
    "parallel": "none, and dp=N for the devices in this machine",
    "accumulate": "1, and larger values if memory is an objective",
}
"""The values that are tried for keys that the user does not list. For all other keys: whatever the device supports."""


def _list_of(name: str, field: FieldInfo) -> tuple[Any, str]:
    """A list of what a plan key may be, but for ``auto``, which is one of the other values."""
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        values: Any = tuple(value for value in get_args(kind) if value != "auto")
        kind = Literal[values]
    unset = _UNSET.get(name, "all values that the device supports")
    return tuple[constrained(kind, field), ...] | None, f"Values of {name} to try. Default: {unset}."  # type: ignore[misc]


@keys_like(Plan, _list_of)
class SpaceSection(Keys):
    """Values to try for each plan key. Values of a key that is left out follow from the device and the workload."""

    _lists = field_validator("*", mode="before")(_listed)

    @field_validator("*")
    @classmethod
    def _values_of_plans(cls, values: tuple[Any, ...] | None, info: ValidationInfo) -> tuple[Any, ...] | None:
        """What a plan would not accept is refused here, since a space is made of plans."""
        for value in values or ():
            try:
                Plan.model_validate({str(info.field_name): value})
            except ValidationError as error:
                said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"the value {value} is not possible: {said}") from error
        return values

    def given(self) -> dict[str, tuple[Any, ...]]:
        """The keys that were listed, with their values."""
        return self.model_dump(exclude_none=True)


class ConstraintSection(Keys):
    """Limits that the best plan must stay within."""

    memory: int | None = Field(
        default=None,
        gt=0,
        lt=2**63,
        description="Largest peak memory that a plan may use, in bytes or with a unit, such as 8GB.",
    )
    latency_ms: float | None = Field(default=None, gt=0, description="Largest median time of a step, in milliseconds.")

    _memory = field_validator("memory", mode="before")(_bytes)


class TuneConfig(JobConfig):
    """Keys of ``hal tune``. A plan key that is given is fixed; ``space.<key>=[...]`` lists the values to try."""

    target: str | None = Field(
        default=None,
        description="Hardware that is not in this machine, as for hal compile. Plans are compiled for it and "
        "compared by estimates.",
    )
    mode: Literal["train", "infer"] = Field(
        default="train", description="What to tune: train (whole optimizer steps) or infer (the forward pass)."
    )
    objective: tuple[Literal["throughput", "latency", "energy", "memory", "time_to_loss"], ...] = Field(
        default=("throughput",),
        min_length=1,
        description="What to optimize: throughput, latency, energy, memory or time_to_loss. "
        "Several objectives, separated by commas, give a Pareto front.",
    )
    constraint: ConstraintSection = Field(
        default_factory=ConstraintSection, description="Limits that the plan must stay within."
    )
    space: SpaceSection = Field(default_factory=SpaceSection, description="Values of plan keys to try.")
    trials: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="Largest number of plans to try. Default: as many as the budget allows.",
    )
    budget: float = Field(
        default=240.0,
        gt=0,
        le=LONGEST_S,
        description="Time for the whole tuning, in seconds or with a unit, such as 90s, 8m or 1h. A trial that "
        "has begun "
        "is finished.",
    )
    sampler: Literal["hal", "tpe", "gp", "random", "brute"] = Field(
        default="hal",
        description="What chooses the plans to try: hal (its own search), tpe, gp or random (samplers of Optuna), or "
        "brute (every plan, in order). gp loads PyTorch and SciPy into the tuner's own process.",
    )
    seconds: float = Field(
        default=1.5, gt=0, le=LONGEST_S, description="Longest time to measure each plan after its warm-up, in seconds."
    )
    limit: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_S,
        description="Time after which a trial is killed, in seconds or with a unit, such as 90s or 5m. "
        "Default: 90, or 45 with target=.",
    )
    memory_limit: int | None = Field(
        default=None,
        gt=0,
        lt=2**63,
        description="Limit of the address space of each worker process, in bytes or with a unit, such as 8GB. Not for "
        "GPUs, whose runtimes reserve more addresses than that. Default: no limit.",
    )
    finalists: int = Field(
        default=3,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of the best plans to measure again at the end, in turn with the default plan.",
    )
    python: str | None = Field(
        default=None,
        description="Python interpreter that runs the trials, for a backend in another environment. "
        "Default: the interpreter that runs hal.",
    )
    storage: str | None = Field(
        default=None,
        description="URL of an Optuna storage, or journal:FILE, which several processes can share. "
        "Default: an SQLite file in the folder of the tuning.",
    )
    out: str | None = Field(default=None, description="Folder for the results. Default: a new folder in runs/.")
    resume: str | None = Field(default=None, description="Folder of a tuning to resume.")

    @field_validator("objective", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("sampler", mode="before")
    @classmethod
    def _known_sampler(cls, value: Any) -> Any:
        if value in SAMPLERS:
            return value
        plain = re.sub("[^a-z0-9]", "", str(value).lower())
        for names, said in _NO_SAMPLER.items():
            if plain in names:
                raise ValueError(said)
        near = difflib.get_close_matches(plain, SAMPLERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of: {', '.join(SAMPLERS)}"
        raise ValueError(f"no sampler has this name; {hint}")

    _budget = field_validator("budget", "limit", mode="before")(_seconds)
    _memory = field_validator("memory_limit", mode="before")(_bytes)

    @property
    def limit_s(self) -> float:
        """Seconds after which a trial is killed."""
        return self.limit or (_LIMIT_S if self.target is None else _BUILD_LIMIT_S)

    def for_workers(self) -> dict[str, Any]:
        """The given keys that workers need.

        Raises:
            RequestError: a key cannot be combined with ``target``.
        """
        given = self.model_dump(mode="json", exclude_unset=True)
        if self.target is None:
            return {name: value for name, value in given.items() if name in JobConfig.model_fields}
        for name in _MEASURED:
            if name in given:
                raise ConfigError(
                    f"{name}= cannot be combined with target={self.target}, because plans are only compiled for "
                    f"a target "
                    "and never run",
                    fix=f"leave {name}= out",
                )
        if self.plan == "tuned":
            raise ConfigError(
                "plan=tuned cannot be combined with target=, because only measured plans are stored",
                fix="use plan=default or plan=FILE.yaml",
            )
        for name in self.objective:
            if name in ("energy", "time_to_loss"):
                raise UnsupportedError(
                    f"objective={name} cannot be used with target={self.target}, because it cannot be estimated from "
                    "what a compiler reports",
                    fix="use throughput, latency or memory",
                )
        return {
            name: given[name] for name in ("model", "target", "data", "plan", *PlanKeys.model_fields) if name in given
        }
