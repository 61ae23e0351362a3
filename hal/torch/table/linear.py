"""Products of matrices and what layers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hal.torch.table.call import Call, axis_of
from hal.torch.table.entries import op
from hal.torch.table.reductions import norm
from hal.types import Array

__all__: list[str] = []


@op("linear")
def _linear(c: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    return c.xp.linear(x, c.xp.matrix_transpose(weight), bias)


@op("matmul mm bmm mv dot vdot linalg_matmul")
def _matmul(c: Call, a: Array, b: Array) -> Array:
    return c.xp.matmul(*c.promoted(a, b))


@op("inner")
def _inner(c: Call, a: Array, b: Array) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.tensordot(a, b, axes=((len(a.shape) - 1,), (len(b.shape) - 1,)))


@op("addmm")
def _addmm(c: Call, x: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    return _sum(c, x, c.xp.matmul(*c.promoted(a, b)), beta, alpha)


@op("baddbmm")
def _baddbmm(c: Call, x: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    return _sum(c, x, c.xp.matmul(*c.promoted(a, b)), beta, alpha)


@op("addmv")
def _addmv(c: Call, x: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    return _sum(c, x, c.xp.matmul(*c.promoted(a, b)), beta, alpha)


@op("addbmm")
def _addbmm(c: Call, x: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    return _sum(c, x, c.xp.sum(c.xp.matmul(*c.promoted(a, b)), axis=0), beta, alpha)


def _sum(c: Call, x: Array, product: Array, beta: Any, alpha: Any) -> Array:
    product = product if alpha == 1 else c.xp.multiply(product, alpha)
    if beta == 0:  # even NaN in x does not count
        return product
    x, product = c.promoted(x, product)
    return c.xp.add(x if beta == 1 else c.xp.multiply(x, beta), product)


@op("outer ger")
def _outer(c: Call, a: Array, b: Array) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.multiply(c.xp.expand_dims(a, axis=1), c.xp.expand_dims(b, axis=0))


@op("einsum")
def _einsum(c: Call, equation: str, tensors: Sequence[Array], path: Any = None) -> Array:
    return c.xp.einsum(equation, *c.promoted(*tensors))


@op("tensordot")
def _tensordot(c: Call, a: Array, b: Array, dims_a: Sequence[int], dims_b: Sequence[int]) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.tensordot(a, b, axes=(tuple(dims_a), tuple(dims_b)))


@op("bilinear")
def _bilinear(c: Call, a: Array, b: Array, weight: Array, bias: Array | None = None) -> Array:
    y = c.xp.einsum("...i,oij,...j->...o", a, weight, b)
    return y if bias is None else c.xp.add(y, bias)


@op("cosine_similarity")
def _cosine_similarity(c: Call, a: Array, b: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    a, b = c.promoted(a, b)
    axis = max(axis_of(dim, a), axis_of(dim, b))

    def total(x: Array, y: Array) -> Array:
        return c.xp.sum(c.xp.multiply(x, y), axis=axis)

    def length(x: Array) -> Array:
        square = total(x, x)
        low = c.xp.less_equal(square, eps * eps)
        return c.xp.where(low, c.array(eps, square), c.xp.sqrt(c.xp.where(low, c.xp.ones_like(square), square)))

    return c.xp.divide(total(a, b), c.xp.multiply(length(a), length(b)))


@op("cdist _cdist_forward")
def _cdist(c: Call, a: Array, b: Array, p: float = 2.0, compute_mode: int | None = None) -> Array:
    a, b = c.promoted(a, b)
    apart = c.xp.subtract(c.xp.expand_dims(a, axis=-2), c.xp.expand_dims(b, axis=-3))
    return norm(c, apart, p, (len(apart.shape) - 1,))


@op("linalg_cross")
def _cross(c: Call, a: Array, b: Array, *, dim: int = -1) -> Array:
    axis = axis_of(dim, a)

    def turned(x: Array, by: int) -> Array:
        return c.xp.roll(x, by, axis=axis)

    first = c.xp.multiply(turned(a, -1), turned(b, 1))
    return c.xp.subtract(first, c.xp.multiply(turned(a, 1), turned(b, -1)))
