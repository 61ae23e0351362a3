"""Keys of ``hal tune``."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import Field, field_validator
from pydantic.fields import FieldInfo

from hal.config import JobConfig, Keys, PlanKeys, constrained, keys_like
from hal.contract.plan import Plan
from hal.errors import ConfigError, UnsupportedError

__all__ = ["ConstraintSection", "SpaceSection", "TuneConfig"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SPANS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _bytes(value: Any) -> Any:
    """A number of bytes, also as 512M or 8GB; anything else is left to the validation."""
    found = re.fullmatch(r"([0-9.]{1,30})\s*([kmgt]?)(i?b)?", str(value).strip().lower())
    return int(float(found[1]) * _UNITS[found[2]]) if found else value


def _seconds(value: Any) -> Any:
    """A number of seconds, also as 90s, 8m or 1h; anything else is left to the validation."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|)", str(value).strip().lower())
    return float(found[1]) * _SPANS[found[2]] if found else value


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, (list, tuple)) else [value]


_LIMIT_S, _BUILD_LIMIT_S = 90.0, 45.0
_MEASURED = ("backend", "device", "seconds", "finalists")
"""Keys that cannot be combined with ``target``, since nothing runs there."""


_UNSET = {
    "batch": "if left out, sizes around the default, for example [32,64,128]",
    "precision": "if left out, fp32 and the precisions that the hardware accelerates",
    "threads": "if left out, one, half the cores, and null, which is the framework's choice",
    "parallel": "if left out, none and the devices that are here",
    "accumulate": "if left out, 1, and more where memory is an objective",
}
"""What is tried of keys that the user does not list; of other keys it is all that the device offers."""


def _list_of(name: str, field: FieldInfo) -> tuple[Any, str]:
    """A list of what a plan key may be, but for ``auto``, which is one of the other values."""
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        kind = Literal.__getitem__(tuple(value for value in get_args(kind) if value != "auto"))
    unset = _UNSET.get(name, "if left out, all values that the device offers")
    return tuple[constrained(kind, field), ...] | None, f"Values of {name} to try; {unset}."  # type: ignore[misc]


@keys_like(Plan, _list_of)
class SpaceSection(Keys):
    """Values to try for each plan key. Values of a key that is left out follow from the device and the workload."""

    _lists = field_validator("*", mode="before")(_listed)

    def given(self) -> dict[str, tuple[Any, ...]]:
        """The keys that were listed, with their values."""
        return self.model_dump(exclude_none=True)


class ConstraintSection(Keys):
    """Limits that the best plan must stay within."""

    memory: int | None = Field(default=None, gt=0, description="largest peak memory, in bytes or as 8GB")
    latency_ms: float | None = Field(default=None, gt=0, description="largest median time of a step, in milliseconds")

    _memory = field_validator("memory", mode="before")(_bytes)


class TuneConfig(JobConfig):
    """Keys of ``hal tune``. A plan key that is given is fixed; ``space.<key>=[...]`` lists the values to try."""

    target: str | None = Field(
        default=None,
        description="hardware that is not here, as for hal compile; plans are compiled for it and "
        "compared by estimates",
    )
    mode: Literal["train", "infer"] = Field(
        default="train", description="train: measure optimizer steps; infer: measure forward passes"
    )
    objective: tuple[Literal["throughput", "latency", "energy", "memory", "time_to_loss"], ...] = Field(
        default=("throughput",),
        min_length=1,
        description="what to optimise: throughput, latency, energy, memory or time_to_loss; "
        "several, separated by commas, give a Pareto front",
    )
    constraint: ConstraintSection = Field(default_factory=ConstraintSection, description="limits on the plan")
    space: SpaceSection = Field(default_factory=SpaceSection, description="values of plan keys to try")
    trials: int | None = Field(
        default=None, ge=1, description="largest number of plans to try; unset: as many as the budget allows"
    )
    budget: float = Field(
        default=240.0,
        gt=0,
        description="time for the whole tuning, in seconds or as 90s, 8m, 1h; a trial that has begun is finished",
    )
    seconds: float = Field(default=1.5, gt=0, description="longest time that each plan is measured for, after warm-up")
    limit: float | None = Field(
        default=None,
        gt=0,
        description="time after which a trial is killed, in seconds or as 90s, 5m; unset: 90, or 45 with target=",
    )
    memory_limit: int | None = Field(
        default=None, gt=0, description="limit of a worker's address space, in bytes or as 8GB; unset: no limit"
    )
    finalists: int = Field(
        default=3, ge=1, description="number of best plans to measure again at the end, in turn with the default plan"
    )
    python: str | None = Field(
        default=None, description="Python interpreter that runs the trials, for a backend in another environment"
    )
    storage: str | None = Field(
        default=None,
        description="URL of an Optuna storage, or journal:FILE, which several processes can share; "
        "unset: an SQLite file in the folder of the tuning",
    )
    out: str | None = Field(default=None, description="folder for the results; unset: a new folder in runs/")
    resume: str | None = Field(default=None, description="folder of a tuning to continue")

    @field_validator("objective", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

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
                    f"{name}= cannot be combined with target={self.target}: plans are compiled for it, but not run",
                    fix=f"leave {name} out",
                )
        if self.plan == "tuned":
            raise ConfigError(
                "plan=tuned cannot be combined with target=, because only measured plans are stored",
                fix="use plan=default or plan=FILE",
            )
        for name in self.objective:
            if name in ("energy", "time_to_loss"):
                raise UnsupportedError(
                    f"objective={name} cannot be estimated, and target={self.target} is not here to be measured",
                    fix="choose throughput, latency or memory, which are estimated from what the compiler reports",
                )
        return {
            name: given[name] for name in ("model", "target", "data", "plan", *PlanKeys.model_fields) if name in given
        }
