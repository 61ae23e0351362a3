"""Sums, means, extremes and other reductions along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hal.torch.node import DType
from hal.torch.table.call import Call, axes_of, axis_of
from hal.torch.table.entries import op, unsupported
from hal.torch.table.shapes import sliced
from hal.types import Array

__all__ = ["norm"]

Dims = int | Sequence[int] | None


def _wide(c: Call, x: Array, dtype: DType | None) -> Array:
    """What is added up: in the dtype that the caller asks for; integers and booleans as 64-bit integers."""
    if dtype is not None:
        return c.cast(x, c.dtype(dtype))
    return x if c.kind(x) == "f" else c.cast(x, c.dtype("int64"))


@op("sum sum.dim_IntList")
def _sum(c: Call, x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Array:
    return c.xp.sum(_wide(c, x, dtype), axis=axes_of(dim, x), keepdims=keepdim)


@op("mean mean.dim")
def _mean(c: Call, x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Array:
    x = c.floating(x) if dtype is None else c.cast(x, c.dtype(dtype))
    return c.xp.mean(x, axis=axes_of(dim, x), keepdims=keepdim)


@op("prod prod.dim_int")
def _prod(c: Call, x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Array:
    return c.xp.prod(_wide(c, x, dtype), axis=axes_of(dim, x), keepdims=keepdim)


@op("amax max")
def _amax(c: Call, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    return c.xp.max(x, axis=axes_of(dim, x), keepdims=keepdim)


@op("amin min")
def _amin(c: Call, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    return c.xp.min(x, axis=axes_of(dim, x), keepdims=keepdim)


@op("aminmax")
def _aminmax(c: Call, x: Array, *, dim: int | None = None, keepdim: bool = False) -> tuple[Array, Array]:
    return _amin(c, x, dim, keepdim), _amax(c, x, dim, keepdim)


@op("any any.dim any.dims")
def _any(c: Call, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    return c.xp.any(c.cast(x, c.xp.bool), axis=axes_of(dim, x), keepdims=keepdim)


@op("all all.dim all.dims")
def _all(c: Call, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    return c.xp.all(c.cast(x, c.xp.bool), axis=axes_of(dim, x), keepdims=keepdim)


@op("max.dim")
def _max(c: Call, x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    return _with_index(c, x, c.xp.argmax(x, axis=axis_of(dim, x), keepdims=True), dim, keepdim)


@op("min.dim")
def _min(c: Call, x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    return _with_index(c, x, c.xp.argmin(x, axis=axis_of(dim, x), keepdims=True), dim, keepdim)


def _with_index(c: Call, x: Array, index: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    """The element at an index, which alone gets the gradient."""
    axis = axis_of(dim, x)
    value = c.xp.take_along_axis(x, index, axis=axis)
    return (value, index) if keepdim else (c.xp.squeeze(value, axis=axis), c.xp.squeeze(index, axis=axis))


@op("argmax")
def _argmax(c: Call, x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    return c.xp.argmax(x, axis=None if dim is None else axis_of(dim, x), keepdims=keepdim)


@op("argmin")
def _argmin(c: Call, x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    return c.xp.argmin(x, axis=None if dim is None else axis_of(dim, x), keepdims=keepdim)


@op("logsumexp")
def _logsumexp(c: Call, x: Array, dim: Dims, keepdim: bool = False) -> Array:
    axes = axes_of(dim, x)
    top = c.xp.stop_gradient(c.xp.max(x, axis=axes, keepdims=True))
    top = c.xp.where(c.xp.isfinite(top), top, c.xp.zeros_like(top))
    total = c.xp.sum(c.xp.exp(c.xp.subtract(x, top)), axis=axes, keepdims=True)
    y = c.xp.add(c.xp.log(total), top)
    return y if keepdim else c.xp.squeeze(y, axis=axes)


@op("cumsum")
def _cumsum(c: Call, x: Array, dim: int, *, dtype: DType | None = None) -> Array:
    return c.xp.cumulative_sum(_wide(c, x, dtype), axis=axis_of(dim, x)) if x.shape else _wide(c, x, dtype)


@op("cumprod")
def _cumprod(c: Call, x: Array, dim: int, *, dtype: DType | None = None) -> Array:
    return c.xp.cumulative_prod(_wide(c, x, dtype), axis=axis_of(dim, x)) if x.shape else _wide(c, x, dtype)


@op("diff")
def _diff(
    c: Call, x: Array, n: int = 1, dim: int = -1, prepend: Array | None = None, append: Array | None = None
) -> Array:
    parts = [part for part in (prepend, x, append) if part is not None]
    x = parts[0] if len(parts) == 1 else c.xp.concat(parts, axis=axis_of(dim, x))
    for _ in range(n):
        x = c.xp.subtract(sliced(x, dim, 1, None), sliced(x, dim, 0, x.shape[dim] - 1))
    return x


def _moments(name: str) -> None:
    @op(f"{name} {name}.dim")
    def unbiased(c: Call, x: Array, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Array:
        if isinstance(dim, bool):  # the overload without axes: std(x, unbiased)
            dim, unbiased = None, dim
        return getattr(c.xp, name)(x, axis=axes_of(dim, x), correction=float(unbiased), keepdims=keepdim)

    @op(f"{name}.correction")
    def corrected(
        c: Call, x: Array, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False
    ) -> Array:
        less = 1.0 if correction is None else float(correction)
        return getattr(c.xp, name)(x, axis=axes_of(dim, x), correction=less, keepdims=keepdim)

    @op(f"{name}_mean.correction")
    def with_mean(
        c: Call, x: Array, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False
    ) -> tuple[Array, Array]:
        return corrected(c, x, dim, correction=correction, keepdim=keepdim), _mean(c, x, dim, keepdim)


_moments("var")
_moments("std")


@op("linalg_vector_norm norm.ScalarOpt_dim norm.Scalar")
def _norm(
    c: Call, x: Array, p: float | None = 2, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Array:
    x = x if dtype is None else c.cast(x, c.dtype(dtype))
    return norm(c, x, 2 if p is None else p, axes_of(dim, x), keepdim)


def norm(c: Call, x: Array, p: float, axes: tuple[int, ...], keepdim: bool = False) -> Array:
    """The p-norm along axes."""
    if p == float("inf"):
        return c.xp.max(c.xp.abs(x), axis=axes, keepdims=keepdim)
    if p == 1:
        return c.xp.sum(c.xp.abs(x), axis=axes, keepdims=keepdim)
    if p == 2:
        return _root(c, c.xp.sum(c.xp.multiply(x, x), axis=axes, keepdims=keepdim))
    if p <= 0:
        raise unsupported(f"a vector norm with ord={p}; positive numbers and infinity are translated")
    return c.xp.pow(c.xp.sum(c.xp.pow(c.xp.abs(x), p), axis=axes, keepdims=keepdim), 1 / p)


def _root(c: Call, x: Array) -> Array:
    """The square root, with the derivative 0 at 0, which PyTorch's norms have."""
    zero = c.xp.equal(x, 0)
    return c.xp.where(zero, c.xp.zeros_like(x), c.xp.sqrt(c.xp.where(zero, c.xp.ones_like(x), x)))


@op("count_nonzero.dim_IntList count_nonzero")
def _count_nonzero(c: Call, x: Array, dim: Dims = None) -> Array:
    nonzero = c.cast(c.xp.not_equal(x, 0) if c.kind(x) != "b" else x, c.dtype("int64"))
    return c.xp.sum(nonzero, axis=axes_of(dim, x))


@op("softmax.int _softmax special_softmax")
def _softmax(c: Call, x: Array, dim: int, *args: Any, dtype: DType | None = None) -> Array:
    return c.xp.softmax(_in_dtype(c, x, args, dtype), axis=axis_of(dim, x)) if x.shape else c.xp.ones_like(x)


@op("log_softmax.int _log_softmax special_log_softmax")
def _log_softmax(c: Call, x: Array, dim: int, *args: Any, dtype: DType | None = None) -> Array:
    return c.xp.log_softmax(_in_dtype(c, x, args, dtype), axis=axis_of(dim, x)) if x.shape else c.xp.zeros_like(x)


def _in_dtype(c: Call, x: Array, args: Sequence[Any], dtype: DType | None) -> Array:
    """``softmax.int`` takes a dtype third, by position or by name; ``_softmax`` a flag there."""
    dtype = dtype or next((value for value in args if isinstance(value, DType)), None)
    return c.floating(x) if dtype is None else c.cast(x, c.dtype(dtype))
