"""Functions of the Array API standard, 2024.12, whose results have shapes that depend on values: on the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.primitives import from_numpy
from hal.errors import ShapeError

__all__ = ["nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"]

Array = OpenclArray


class _All(NamedTuple):
    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class _Counts(NamedTuple):
    values: Array
    counts: Array


class _Inverse(NamedTuple):
    values: Array
    inverse_indices: Array


def _back(x: Array, host: Any) -> Array:
    return from_numpy(x.runtime, np.asarray(host))


def nonzero(x: Array, /) -> tuple[Array, ...]:
    """Positions of what is not zero, an array for each axis."""
    if x.ndim == 0:
        raise ShapeError("nonzero of an array without axes; it needs at least one")
    return tuple(_back(x, found) for found in np.nonzero(x.__array__()))


def unique_all(x: Array, /) -> _All:
    """Distinct values, where each is first, where each element is among them, and how often each is there."""
    return _All(*(_back(x, found) for found in np.unique_all(x.__array__())))


def unique_counts(x: Array, /) -> _Counts:
    """Distinct values, and how often each is there."""
    return _Counts(*(_back(x, found) for found in np.unique_counts(x.__array__())))


def unique_inverse(x: Array, /) -> _Inverse:
    """Distinct values, and where each element is among them."""
    return _Inverse(*(_back(x, found) for found in np.unique_inverse(x.__array__())))


def unique_values(x: Array, /) -> Array:
    """Distinct values."""
    return _back(x, np.unique_values(x.__array__()))
