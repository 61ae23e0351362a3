"""Reductions, cumulative functions, sorting, searching and products of the Array API standard, 2024.12.

Names of Python's built-in functions have an underscore here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hal.backends._traced import dtypes, shapes
from hal.backends._traced.dtypes import DType, as_dtype, bool_, floating, int64, promote, uint64
from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.standard.manipulation import broadcast_to, concat, moveaxis, take_along_axis
from hal.errors import ShapeError, UnsupportedError

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
    "matmul",
    "max_",
    "mean",
    "min_",
    "prod",
    "searchsorted",
    "sort",
    "std",
    "sum_",
    "tensordot",
    "var",
    "vecdot",
]

Array = OpenclArray
Axes = int | Sequence[int] | None


def _reduce(kind: str, x: Array, axis: Axes, keepdims: bool) -> Array:
    axes = shapes.axes_of(axis, x.ndim)
    return p.reshape(p.reduce(kind, x, axes), shapes.reduced(x.shape, axes, keepdims))


def _accumulated(x: Array, dtype: Any) -> DType:
    """The type of a sum: the default integer type for narrower integers, unless asked for another."""
    if dtype is not None:
        return as_dtype(dtype)
    kinds: dict[str, DType] = {"b": int64, "i": int64, "u": uint64}
    return kinds.get(x.dtype.kind, x.dtype)


def sum_(x: Array, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """The sum over axes."""
    return _reduce("sum", p.cast(x, _accumulated(x, dtype)), axis, keepdims)


def prod(x: Array, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """The product over axes."""
    return _reduce("prod", p.cast(x, _accumulated(x, dtype)), axis, keepdims)


def _extreme(kind: str, x: Array, axis: Axes, keepdims: bool) -> Array:
    axes = shapes.axes_of(axis, x.ndim)
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError(f"{kind} of shape {x.shape} over axis {axis}: an axis of size 0 has no {kind}")
    return _reduce(kind, x, axis, keepdims)


def max_(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The largest value over axes."""
    return _extreme("max", x, axis, keepdims)


def min_(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The smallest value over axes."""
    return _extreme("min", x, axis, keepdims)


def mean(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The mean over axes."""
    axes = shapes.axes_of(axis, x.ndim)
    count = math.prod(x.shape[a] for a in axes)
    # Of float16 the sum may overflow where the mean does not.
    wide = p.cast(x, dtypes.float32 if x.dtype == dtypes.float16 else floating(x.dtype))
    total = _reduce("sum", wide, axis, keepdims)
    scaled: Array = total * (1 / count) if count else total / 0.0
    return p.cast(scaled, floating(x.dtype))


def var(x: Array, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """The variance over axes."""
    axes = shapes.axes_of(axis, x.ndim)
    count = math.prod(x.shape[a] for a in axes)
    wide = p.cast(x, floating(x.dtype))
    if wide.dtype.kind == "c":
        raise UnsupportedError("var was given complex numbers", fix="it takes real ones")
    centered = wide - mean(wide, axis=axes, keepdims=True)
    scaled: Array = _reduce("sum", centered * centered, axes, keepdims) / float(max(count - correction, 0))
    return scaled


def std(x: Array, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """The standard deviation over axes; its derivative where all values are equal is 0."""
    variance = var(x, axis=axis, correction=correction, keepdims=keepdims)
    root = p.elementwise("sqrt", p.elementwise("where", variance == 0, 1.0, variance))
    return p.elementwise("where", variance == 0, 0.0, root)


def all_(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Whether all values over axes are true."""
    return _reduce("all", p.cast(x, bool_), axis, keepdims)


def any_(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Whether any value over axes is true."""
    return _reduce("any", p.cast(x, bool_), axis, keepdims)


def count_nonzero(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """How many values over axes are not zero."""
    return sum_(p.cast(x, bool_), axis=axis, keepdims=keepdims)


def _position(kind: str, x: Array, axis: int | None, keepdims: bool) -> Array:
    if (x.size if axis is None else x.shape[shapes.axis_of(axis, x.ndim)]) == 0:
        raise ShapeError(f"{kind} of shape {x.shape} over axis {axis}: an axis of size 0 has no {kind}")
    return _reduce(kind, x, axis, keepdims)


def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the largest value along an axis is, the first one of equal ones."""
    return _position("argmax", x, axis, keepdims)


def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the smallest value along an axis is, the first one of equal ones."""
    return _position("argmin", x, axis, keepdims)


def _cumulative(kind: str, x: Array, axis: int | None, dtype: Any, include_initial: bool) -> Array:
    name = f"cumulative_{kind}"
    if axis is None and x.ndim != 1:
        raise ShapeError(f"{name} of shape {x.shape} needs an axis")
    at = shapes.axis_of(axis or 0, x.ndim)
    wide = p.cast(x, _accumulated(x, dtype))
    y = moveaxis(p.cumulate(kind, moveaxis(wide, at, -1)), -1, at)
    if not include_initial:
        return y
    first = p.constant(x.runtime, int(kind == "prod"), y.dtype, (*y.shape[:at], 1, *y.shape[at + 1 :]))
    return concat([first, y], axis=at)


def cumulative_sum(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Sums of all values up to each along an axis."""
    return _cumulative("sum", x, axis, dtype, include_initial)


def cumulative_prod(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Products of all values up to each along an axis."""
    return _cumulative("prod", x, axis, dtype, include_initial)


def diff(
    x: Array, /, *, axis: int = -1, n: int = 1, prepend: Array | None = None, append: Array | None = None
) -> Array:
    """Differences of neighbors along an axis, n times over."""
    at = shapes.axis_of(axis, x.ndim)
    parts = [part for part in (prepend, x, append) if part is not None]
    y = concat(parts, axis=at) if len(parts) > 1 else x
    for _ in range(n):
        length = y.shape[at]
        if length == 0:
            break
        before, after = (y[(*[slice(None)] * at, s, ...)] for s in (slice(0, length - 1), slice(1, length)))
        name = "logical_xor" if y.dtype.kind == "b" else "subtract"
        y = p.elementwise(name, after, before)
    return y


def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The positions of the values in order along an axis."""
    if x.ndim == 0:
        raise ShapeError("sort of an array without axes; it needs at least one")
    at = shapes.axis_of(axis, x.ndim)
    last = moveaxis(x, at, -1)
    if descending:  # back to front and upwards, so that equal values keep their order
        length = last.shape[-1] - 1
        backwards = (..., slice(None, None, -1))
        return moveaxis(length - p.order(p.detach(last[backwards]))[backwards], -1, at)
    return moveaxis(p.order(p.detach(last)), -1, at)


def sort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Values in order along an axis, NaN last."""
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


def searchsorted(x1: Array, x2: Array, /, *, side: str = "left", sorter: Array | None = None) -> Array:
    """Where values would go in a sorted array: how many of its values are below each."""
    if x1.ndim != 1:
        raise ShapeError(f"searchsorted in shape {x1.shape}; should have one axis")
    if sorter is not None:
        x1 = take_along_axis(x1, sorter)
    name = "less" if side == "left" else "less_equal"
    values = p.reshape(x2, (*x2.shape, 1))
    return count_nonzero(p.elementwise(name, x1, values), axis=-1)


# Sums of products


def _typed(a: Array, b: Array) -> tuple[Array, Array]:
    dtype = promote(a, b)
    return p.cast(a, dtype), p.cast(b, dtype)


def matmul(x1: Array, x2: Array, /) -> Array:
    """(..., n, k) times (..., k, m)."""
    shape, _ = shapes.matmul(x1.shape, x2.shape)
    a, b = _typed(x1, x2)
    a = p.reshape(a, (1, *a.shape)) if a.ndim == 1 else a
    b = p.reshape(b, (*b.shape, 1)) if b.ndim == 1 else b
    if b.ndim == 2:
        return p.reshape(p.contract(a, b, ((), ()), ((a.ndim - 1,), (0,))), shape)
    lead = shapes.broadcast(a.shape[:-2], b.shape[:-2])
    a, b = broadcast_to(a, (*lead, *a.shape[-2:])), broadcast_to(b, (*lead, *b.shape[-2:]))
    batch, last = tuple(range(len(lead))), len(lead)
    return p.reshape(p.contract(a, b, (batch, batch), ((last + 1,), (last,))), shape)


def tensordot(x1: Array, x2: Array, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """A sum of products over some axes of both."""
    first, second, shape = shapes.tensordot(x1.shape, x2.shape, axes)
    a, b = _typed(x1, x2)
    if not first:
        outer = p.reshape(a, (*a.shape, *(1,) * b.ndim)) * b
        return p.reshape(outer, shape)
    return p.contract(a, b, ((), ()), (first, second))


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """A sum of products along one axis, with the others broadcast."""
    shapes.vecdot(x1.shape, x2.shape, axis)
    a, b = (moveaxis(x, axis, -1) for x in _typed(x1, x2))
    return _reduce("sum", p.elementwise("conj", a) * b, -1, False)
