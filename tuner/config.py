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
    found = re.fullmatch(r"([0-9.]+)\s*([kmgt]?)(i?b)?", str(value).strip().lower())
    return int(float(found[1]) * _UNITS[found[2]]) if found else value


def _seconds(value: Any) -> Any:
    """A number of seconds, also as 90s, 8m or 1h; anything else is left to the validation."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|)", str(value).strip().lower())
    return float(found[1]) * _SPANS[found[2]] if found else value


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, (list, tuple)) else [value]


_LIMIT_S, _BUILD_LIMIT_S = 90.0, 45.0
_MEASURED = ("backend", "device", "seconds", "finalists")
"""Keys that have no meaning where nothing runs."""


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
    """Values of plan keys that are tried; what is left out is derived from the device and the workload."""

    _lists = field_validator("*", mode="before")(_listed)

    def given(self) -> dict[str, tuple[Any, ...]]:
        """The keys that were listed, with their values."""
        return self.model_dump(exclude_none=True)


class ConstraintSection(Keys):
    """What the plan must keep."""

    memory: int | None = Field(default=None, gt=0, description="most peak memory, in bytes or as 8GB")
    latency_ms: float | None = Field(default=None, gt=0, description="longest step in the median, in milliseconds")

    _memory = field_validator("memory", mode="before")(_bytes)


class TuneConfig(JobConfig):
    """Keys of ``hal tune``. A key of the plan fixes it; ``space.<key>=[...]`` lists what is tried."""

    target: str | None = Field(
        default=None,
        description="hardware that is not here, as hal compile takes it: plans are built for it, and by estimates",
    )
    mode: Literal["train", "infer"] = Field(default="train", description="train: optimizer steps; infer: forward alone")
    objective: tuple[Literal["throughput", "latency", "energy", "memory", "time_to_loss"], ...] = Field(
        default=("throughput",),
        min_length=1,
        description="throughput, latency, energy, memory or time_to_loss; several with commas for a Pareto front",
    )
    constraint: ConstraintSection = Field(default_factory=ConstraintSection, description="what the plan must keep")
    space: SpaceSection = Field(default_factory=SpaceSection, description="values that are tried")
    trials: int | None = Field(default=None, ge=1, description="most plans to try; unset: as many as the budget allows")
    budget: float = Field(
        default=240.0, gt=0, description="time for everything, in seconds or as 90s, 8m, 1h; the last trial is finished"
    )
    seconds: float = Field(default=1.5, gt=0, description="longest time in the steady state, for each plan")
    limit: float | None = Field(
        default=None, gt=0, description="seconds after which a trial is killed; unset: 90, with target= 45"
    )
    memory_limit: int | None = Field(
        default=None, gt=0, description="address space of a worker, in bytes or as 8GB; unset: no limit"
    )
    finalists: int = Field(default=3, ge=1, description="best plans that are measured again, in turn with the default")
    python: str | None = Field(
        default=None, description="interpreter that runs the trials, for a backend in another environment"
    )
    storage: str | None = Field(
        default=None,
        description="URL of an Optuna storage, or journal:FILE, that several processes share; "
        "unset: SQLite in the tuning's folder",
    )
    out: str | None = Field(default=None, description="folder for results; unset: a new one in runs/")
    resume: str | None = Field(default=None, description="folder of a tuning to go on with")

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
        """The keys that workers need, of those that were given.

        Raises:
            RequestError: with ``target``, a key asks for what only a device that is here can tell.
        """
        given = self.model_dump(mode="json", exclude_unset=True)
        if self.target is None:
            return {name: value for name, value in given.items() if name in JobConfig.model_fields}
        for name in _MEASURED:
            if name in given:
                raise ConfigError(
                    f"{name}= has no meaning with target={self.target}: plans are built for it, and nothing runs",
                    fix=f"leave {name} out",
                )
        if self.plan == "tuned":
            raise ConfigError(
                "plan=tuned is a plan that was measured on a device that is here", fix="use plan=default or a file"
            )
        for name in self.objective:
            if name in ("energy", "time_to_loss"):
                raise UnsupportedError(
                    f"objective={name} can be measured alone, and target={self.target} is not here",
                    fix="choose throughput, latency or memory, which its compiler's answers give estimates of",
                )
        return {
            name: given[name] for name in ("model", "target", "data", "plan", *PlanKeys.model_fields) if name in given
        }
