"""Reductions, cumulative functions, sorting and searching of the Array API standard, 2024.12.

Costs, for n elements read: a reduction n; mean n and one for each result; var 4n and std one more for each result;
a cumulative function n; diff one for each difference; sorting n * ceil(log2(length of the axis)) comparisons;
searching for m values among n, m * ceil(log2(n + 1)). Names of Python's built-in functions have an underscore here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hal.backends._traced import shapes
from hal.backends._traced.dtypes import DType, as_dtype, bool_, floating, int64, real_of, uint64
from hal.backends.null.array import NullArray, Saves, elementwise, operate
from hal.backends.null.standard.manipulation import concat
from hal.errors import ShapeError

__all__ = [
    "all_",
    "any_",
    "argmax",
    "argmin",
    "argsort",
    "count_nonzero",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "max_",
    "mean",
    "min_",
    "prod",
    "searchsorted",
    "sort",
    "std",
    "sum_",
    "var",
]

Axes = int | Sequence[int] | None


def _reduce(
    name: str,
    x: NullArray,
    axis: Axes,
    keepdims: bool,
    dtype: DType,
    *,
    flops: int = 1,
    extra: int = 0,
    saves: Saves = "nothing",
) -> NullArray:
    """Reduce at so many operations an element, and so many more a result."""
    shape = shapes.reduced(x.shape, shapes.axes_of(axis, x.ndim), keepdims)
    return operate(name, (x,), shape, dtype, flops=flops * x.size + extra * math.prod(shape), saves=saves)


def _accumulated(x: NullArray, dtype: Any) -> DType:
    """The type of a sum: the default integer type for narrower integers, unless asked for another."""
    if dtype is not None:
        return as_dtype(dtype)
    kinds: dict[str, DType] = {"b": int64, "i": int64, "u": uint64}
    return kinds.get(x.dtype.kind, x.spec.dtype)


def sum_(x: NullArray, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> NullArray:
    """The sum over axes."""
    return _reduce("sum", x, axis, keepdims, _accumulated(x, dtype))


def prod(x: NullArray, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> NullArray:
    """The product over axes."""
    return _reduce("prod", x, axis, keepdims, _accumulated(x, dtype), saves="inputs")


def _extreme(name: str, x: NullArray, axis: Axes, keepdims: bool) -> NullArray:
    axes = shapes.axes_of(axis, x.ndim)
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError(f"{name} of shape {x.shape} over axis {axis}: an axis of size 0 has no {name}")
    return _reduce(name, x, axis, keepdims, x.spec.dtype, saves="inputs")


def max_(x: NullArray, /, *, axis: Axes = None, keepdims: bool = False) -> NullArray:
    """The largest value over axes."""
    return _extreme("max", x, axis, keepdims)


def min_(x: NullArray, /, *, axis: Axes = None, keepdims: bool = False) -> NullArray:
    """The smallest value over axes."""
    return _extreme("min", x, axis, keepdims)


def mean(x: NullArray, /, *, axis: Axes = None, keepdims: bool = False) -> NullArray:
    """The mean over axes."""
    return _reduce("mean", x, axis, keepdims, floating(x.dtype), extra=1)


def var(x: NullArray, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> NullArray:
    """The variance over axes."""
    return _reduce("var", x, axis, keepdims, real_of(floating(x.dtype)), flops=4, saves="inputs")


def std(x: NullArray, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> NullArray:
    """The standard deviation over axes."""
    return _reduce("std", x, axis, keepdims, real_of(floating(x.dtype)), flops=4, extra=1, saves="inputs")


def all_(x: NullArray, /, *, axis: Axes = None, keepdims: bool = False) -> NullArray:
    """Whether all values over axes are true."""
    return _reduce("all", x, axis, keepdims, bool_)


def any_(x: NullArray, /, *, axis: Axes = None, keepdims: bool = False) -> NullArray:
    """Whether any value over axes is true."""
    return _reduce("any", x, axis, keepdims, bool_)


def count_nonzero(x: NullArray, /, *, axis: Axes = None, keepdims: bool = False) -> NullArray:
    """How many values over axes are not zero."""
    return _reduce("count_nonzero", x, axis, keepdims, int64)


def _position(name: str, x: NullArray, axis: int | None, keepdims: bool) -> NullArray:
    if (x.size if axis is None else x.shape[shapes.axis_of(axis, x.ndim)]) == 0:
        raise ShapeError(f"{name} of shape {x.shape} over axis {axis}: an axis of size 0 has no {name}")
    return _reduce(name, x, axis, keepdims, int64)


def argmax(x: NullArray, /, *, axis: int | None = None, keepdims: bool = False) -> NullArray:
    """Where the largest value along an axis is."""
    return _position("argmax", x, axis, keepdims)


def argmin(x: NullArray, /, *, axis: int | None = None, keepdims: bool = False) -> NullArray:
    """Where the smallest value along an axis is."""
    return _position("argmin", x, axis, keepdims)


def _cumulative(
    name: str, x: NullArray, axis: int | None, dtype: Any, include_initial: bool, *, saves: Saves
) -> NullArray:
    if axis is None and x.ndim != 1:
        raise ShapeError(f"{name} of shape {x.shape} needs an axis")
    at = shapes.axis_of(axis or 0, x.ndim)
    shape = (*x.shape[:at], x.shape[at] + include_initial, *x.shape[at + 1 :])
    return operate(name, (x,), shape, _accumulated(x, dtype), flops=x.size, saves=saves)


def cumulative_sum(
    x: NullArray, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> NullArray:
    """Sums of all values up to each along an axis."""
    return _cumulative("cumulative_sum", x, axis, dtype, include_initial, saves="nothing")


def cumulative_prod(
    x: NullArray, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> NullArray:
    """Products of all values up to each along an axis."""
    return _cumulative("cumulative_prod", x, axis, dtype, include_initial, saves="inputs")


def diff(
    x: NullArray, /, *, axis: int = -1, n: int = 1, prepend: NullArray | None = None, append: NullArray | None = None
) -> NullArray:
    """Differences of neighbors along an axis, n times over."""
    at = shapes.axis_of(axis, x.ndim)
    parts = [part for part in (prepend, x, append) if part is not None]
    y = concat(parts, axis=at) if len(parts) > 1 else x
    for _ in range(n):
        length = y.shape[at]
        if length == 0:
            break
        before, after = (y[(*[slice(None)] * at, s, ...)] for s in (slice(0, length - 1), slice(1, length)))
        y = elementwise("subtract", after, before)
    return y


def _sort_flops(x: NullArray, axis: int) -> int:
    if x.ndim == 0:
        raise ShapeError("sort of an array without axes; it needs at least one")
    length = x.shape[shapes.axis_of(axis, x.ndim)]
    return x.size * math.ceil(math.log2(length)) if length > 1 else 0


def sort(x: NullArray, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> NullArray:
    """Values in order along an axis; where they came from, 8 bytes each, is kept for the backward step."""
    facts = {"flops": _sort_flops(x, axis), "saves": "nothing", "keeps": 8 * x.size, "backward_flops": 0}
    return operate("sort", (x,), x.shape, x.spec.dtype, **facts)


def argsort(x: NullArray, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> NullArray:
    """The positions of the values in order along an axis."""
    return operate("argsort", (x,), x.shape, int64, flops=_sort_flops(x, axis))


def searchsorted(x1: NullArray, x2: NullArray, /, *, side: str = "left", sorter: NullArray | None = None) -> NullArray:
    """Where values would go in a sorted array."""
    if x1.ndim != 1:
        raise ShapeError(f"searchsorted in shape {x1.shape}; should have one axis")
    inputs = (x1, x2) if sorter is None else (x1, x2, sorter)
    flops = x2.size * math.ceil(math.log2(x1.size + 1))
    return operate("searchsorted", inputs, x2.shape, int64, flops=flops)
