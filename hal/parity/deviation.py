"""How far one result is from another, and how far it may be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hal.contract.device import PrecisionName

__all__ = [
    "EPSILON",
    "ROUNDING",
    "STEP",
    "TINY",
    "TOLERANCES",
    "Deviation",
    "Limit",
    "PrecisionLimits",
    "Scale",
    "deviation",
    "relative",
    "scale_of",
]


class Scale(BaseModel):
    """What the errors of an array are measured by; see :mod:`hal.parity.cancellation`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    largest: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="What the largest error is divided by.")
    typical: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="What the root of the mean squared error is divided by.",
    )

    def times(self, factor: float) -> Scale:
        """The scale, larger by a factor."""
        return Scale(largest=_finite(self.largest * factor), typical=_finite(self.typical * factor))

    def or_larger(self, other: Scale) -> Scale:
        """The larger one of two, number by number."""
        return Scale(largest=max(self.largest, other.largest), typical=max(self.typical, other.typical))


class Deviation(BaseModel):
    """How far an array is from what it should be.

    Errors are relative to the scale of the whole array, since a value near zero is the difference of larger ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    largest: float = Field(
        default=0.0, description="Largest error, divided by the largest magnitude of the values or of their terms."
    )
    typical: float = Field(
        default=0.0,
        description="Root of the mean squared error, divided by the root of the mean square of the values or of their "
        "terms.",
    )
    problem: str | None = Field(
        default=None, description="Why the two cannot be compared; the numbers are then meaningless."
    )


class Limit(BaseModel):
    """The largest deviation that rounding can explain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    largest: float
    typical: float

    def exceeded(self, found: Deviation) -> bool:
        """Whether a deviation is larger than rounding can explain."""
        return found.problem is not None or found.largest > self.largest or found.typical > self.typical

    def times(self, factor: float) -> Limit:
        """The limit, wider by a factor."""
        return Limit(largest=self.largest * factor, typical=self.typical * factor)

    def share(self, found: Deviation) -> float:
        """How much of what is allowed a deviation uses up; above 1: too much."""
        if found.problem is not None:
            return float("inf")
        return max(found.largest / self.largest, found.typical / self.typical)


class PrecisionLimits(BaseModel):
    """What is allowed in one precision.

    Attributes:
        op: of one op, forward and backward, from equal inputs.
        gradient: of a parameter's gradient, through the whole model.
        update: of how far an optimizer moves a parameter, in fp32 always.
        loss: of the loss after the optimizer steps, relative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Limit
    gradient: Limit
    update: Limit
    loss: float


EPSILON = 2.0**-23
"""The distance from 1 to the next number in fp32."""

ROUNDING: Mapping[PrecisionName, float] = {"fp32": 4 * EPSILON, "tf32": 2.0**-12, "bf16": 2.0**-9, "fp16": 2.0**-12}
"""What the results of a sound op are off by, about: a sum of some hundred products in fp32, or one rounding to less."""

STEP: Mapping[PrecisionName, float] = {"fp32": 4 * EPSILON, "tf32": 2.0**-12, "bf16": 2.0**-7, "fp16": 2.0**-10}
"""By which share numbers are moved to see how their rounding grows: at least the distance to the next number."""

TINY = float(np.finfo(np.float32).tiny)

_UPDATE = Limit(largest=1e-4, typical=1e-4)
TOLERANCES: Mapping[PrecisionName, PrecisionLimits] = {
    "fp32": PrecisionLimits(
        op=Limit(largest=1e-4, typical=2e-5), gradient=Limit(largest=5e-4, typical=2e-4), update=_UPDATE, loss=1e-4
    ),
    "tf32": PrecisionLimits(
        op=Limit(largest=1e-2, typical=2e-3), gradient=Limit(largest=1e-1, typical=2e-2), update=_UPDATE, loss=2e-3
    ),
    "bf16": PrecisionLimits(
        op=Limit(largest=4e-2, typical=8e-3), gradient=Limit(largest=3e-1, typical=1e-1), update=_UPDATE, loss=2e-2
    ),
    "fp16": PrecisionLimits(
        op=Limit(largest=1e-2, typical=2e-3), gradient=Limit(largest=1e-1, typical=2e-2), update=_UPDATE, loss=2e-3
    ),
}


def scale_of(array: np.ndarray) -> Scale:
    """The largest magnitude and the root of the mean square of the finite values of an array."""
    wide = np.abs(np.asarray(array, np.float64))
    wide = np.where(np.isfinite(wide), wide, 0.0)
    largest = float(wide.max(initial=0.0))
    if largest == 0.0:
        return Scale()
    # Divided first: the square of a small number may be no number any more.
    return Scale(largest=largest, typical=_finite(largest * float(np.sqrt(np.mean((wide / largest) ** 2)))))


def deviation(actual: np.ndarray, expected: np.ndarray, scale: Scale | None = None) -> Deviation:
    """How far an array is from what it should be; of integers and booleans, the share that differs.

    Args:
        actual: what was found.
        expected: what it should be.
        scale: what errors are measured by where it is larger than the scale of the values expected.
    """
    if actual.shape != expected.shape:
        return Deviation(problem=f"shape {actual.shape} instead of {expected.shape}")
    if expected.dtype.kind in "biu":
        differ = float(np.mean(actual != expected)) if expected.size else 0.0
        return Deviation(largest=float(differ > 0), typical=differ)
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    same = (a == e) | (np.isnan(a) & np.isnan(e))
    finite = np.isfinite(a) & np.isfinite(e)
    if not (same | finite).all():
        return Deviation(problem=f"{int((~(same | finite)).sum())} of {a.size} values are not finite, or should not be")
    with np.errstate(invalid="ignore"):
        error = scale_of(np.where(same, 0.0, a - e))
    if error.largest == 0.0:
        return Deviation()
    measure = scale_of(e).or_larger(scale or Scale())
    if measure.largest == 0.0:
        return Deviation(problem="should be zero everywhere")
    return Deviation(
        largest=_finite(error.largest / measure.largest), typical=_finite(error.typical / max(measure.typical, TINY))
    )


def relative(actual: float, expected: float) -> float:
    """The relative error of one number."""
    return 0.0 if actual == expected else abs(actual - expected) / max(abs(expected), TINY)


def _finite(number: float) -> float:
    """A number, or the largest one there is in its place."""
    return min(number, float(np.finfo(np.float64).max))
