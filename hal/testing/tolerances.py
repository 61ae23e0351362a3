"""How far a result may be from the float64 oracle, for each precision, and the one comparison that all checks use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hal.contract.device import PrecisionName

__all__ = ["TOLERANCES", "Tolerance", "assert_close"]


@dataclass(frozen=True)
class Tolerance:
    """Allowed errors, relative to the largest magnitude in the expected array.

    Attributes:
        values: of an op's results.
        gradients: of its gradients, which chain two or three ops.
    """

    values: float
    gradients: float


# The inputs of all cases are exact in every precision, so that only computation errs. Each entry is a multiple of the
# precision's epsilon, the distance from 1 to the next number. A kernel may sum a few dozen products in any order, and
# defaults compose several roundings: about 30 epsilon for fp32, where an exact library and a plain composition differ
# most. Narrow precisions round each intermediate once but accumulate wide, hence 4 to 8 epsilon; TF32 narrows the
# inputs of products alone, to 10 bits of fraction.
TOLERANCES: Mapping[PrecisionName, Tolerance] = {
    "fp32": Tolerance(values=32 * 2.0**-23, gradients=96 * 2.0**-23),
    "tf32": Tolerance(values=4 * 2.0**-10, gradients=8 * 2.0**-10),
    "bf16": Tolerance(values=4 * 2.0**-7, gradients=8 * 2.0**-7),
    "fp16": Tolerance(values=4 * 2.0**-10, gradients=8 * 2.0**-10),
}


def assert_close(
    actual: np.ndarray, expected: np.ndarray, tolerance: float, what: str, *, scale: float | None = None
) -> None:
    """Assert that two arrays agree, shape included.

    Args:
        actual: from the backend.
        expected: from the oracle.
        tolerance: allowed error, relative to the scale.
        what: for the message.
        scale: magnitude to measure errors by; None: the largest expected one. With a number, each element is measured
            by that number plus its own magnitude.
    """
    assert actual.shape == expected.shape, f"{what}: shape is {actual.shape}, should be {expected.shape}"
    if expected.dtype.kind in "biu":
        assert np.array_equal(actual, expected), f"{what}:\n{actual}\nshould be\n{expected}"
        return
    wide = np.asarray(actual, np.complex128 if expected.dtype.kind == "c" else np.float64)
    same = (wide == expected) | (np.isnan(wide) & np.isnan(expected))
    finite = np.isfinite(wide) & np.isfinite(expected)
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.where(finite, np.abs(wide - expected), np.inf))
    magnitude = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    allowed = tolerance * (magnitude.max(initial=0.0) if scale is None else scale + magnitude)
    wrong = error > allowed
    if wrong.any():
        at = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(wrong, error, -1.0)), error.shape))
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {wrong.size} values are off by more than {tolerance:.2g} of their scale; "
            f"worst at {at}: {wide[at]!r}, should be {expected[at]!r}"
        )
