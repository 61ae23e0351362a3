"""What the oracle of every family of ops is written with: float64 NumPy, and central differences.

The oracle follows the definitions by plain loops: slow, obvious and independent of any backend. A name that is not
defined is NumPy's own, which follows the Array API standard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["F64", "Functions", "numeric_gradient"]

F64 = NDArray[np.float64]


class Functions:
    """A namespace of functions on float64 arrays; what a family does not define comes from another one or NumPy."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def numeric_gradient(fn: Callable[[F64], float], x: F64, directions: list[F64], step: float = 1e-5) -> F64:
    """Derivatives of a function at x along directions, by central differences."""
    slopes = [(fn(x + step * d) - fn(x - step * d)) / (2 * step) for d in directions]
    return np.asarray(slopes, np.float64)
