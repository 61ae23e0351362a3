"""Sums of products of the Array API standard, 2024.12: 2 operations for each product and its addition."""

from __future__ import annotations

from collections.abc import Sequence

from hal.backends._traced import shapes
from hal.backends._traced.dtypes import promote
from hal.backends.null.array import NullArray, operate
from hal.backends.null.standard.manipulation import moveaxis
from hal.backends.null.tape import Spec

__all__ = ["factors", "matmul", "tensordot", "vecdot"]


def factors(*arrays: NullArray) -> int:
    """How many of the factors of a product need a gradient; each costs the product's operations once more."""
    return sum(x.node is not None for x in arrays)


def _product(name: str, a: NullArray, b: NullArray, shape: tuple[int, ...], inner: int) -> NullArray:
    dtype = promote(a, b)
    flops = 2 * Spec(shape, dtype).size * inner
    return operate(name, (a, b), shape, dtype, flops=flops, saves="others", backward_flops=flops * factors(a, b))


def matmul(x1: NullArray, x2: NullArray, /) -> NullArray:
    """(..., n, k) times (..., k, m): 2 * n * k * m operations for each of the leading elements."""
    return _product("matmul", x1, x2, *shapes.matmul(x1.shape, x2.shape))


def tensordot(x1: NullArray, x2: NullArray, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> NullArray:
    """A sum of products over some axes of both: 2 operations for each element of the result and of what is summed."""
    first, _, shape = shapes.tensordot(x1.shape, x2.shape, axes)
    inner = 1
    for axis in first:
        inner *= x1.shape[axis]
    return _product("tensordot", x1, x2, shape, inner)


def vecdot(x1: NullArray, x2: NullArray, /, *, axis: int = -1) -> NullArray:
    """A sum of products along one axis, with the others broadcast: 2 operations for each product."""
    shapes.vecdot(x1.shape, x2.shape, axis)
    a, b = (moveaxis(x, axis, -1) if axis != -1 else x for x in (x1, x2))
    return _product("vecdot", a, b, shapes.broadcast(a.shape[:-1], b.shape[:-1]), a.shape[-1])
