"""The Array API standard on autograd's NumPy: functions that autograd differentiates under their older names."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

__all__ = [
    "acos",
    "acosh",
    "asarray",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "broadcast_to",
    "concat",
    "cumulative_sum",
    "flip",
    "hypot",
    "matrix_transpose",
    "permute_dims",
    "positive",
    "pow",
    "take",
    "take_along_axis",
    "unstack",
    "vecdot",
    "where",
]

__array_api_version__ = "2024.12"

acos, acosh, asin, asinh = anp.arccos, anp.arccosh, anp.arcsin, anp.arcsinh
atan, atan2, atanh = anp.arctan, anp.arctan2, anp.arctanh
cumulative_sum, permute_dims, pow = anp.cumsum, anp.transpose, anp.power


def __getattr__(name: str) -> Any:
    return getattr(anp, name)


def __array_namespace_info__() -> Any:
    return np.__array_namespace_info__()


def asarray(x: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    return np.asarray(x, dtype, copy=copy)


def astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
    return x.astype(dtype)


# autograd differentiates the next three in part only: not what adds axes, and not what joins flattened arrays.


def broadcast_to(x: Any, /, shape: tuple[int, ...]) -> Any:
    return anp.broadcast_to(anp.reshape(x, (1,) * (len(shape) - x.ndim) + tuple(x.shape)), shape)


def concat(arrays: Any, /, *, axis: int | None = 0) -> Any:
    if axis is None:
        arrays, axis = [anp.reshape(x, (-1,)) for x in arrays], 0
    return anp.concatenate(arrays, axis)


def where(condition: Any, x: Any, y: Any, /) -> Any:
    shape = np.broadcast_shapes(*(np.shape(part) for part in (condition, x, y)))
    return anp.where(condition, *(broadcast_to(part, shape) if np.shape(part) else part for part in (x, y)))


def matrix_transpose(x: Any, /) -> Any:
    return anp.swapaxes(x, -1, -2)


def positive(x: Any, /) -> Any:
    return x


def hypot(x: Any, y: Any, /) -> Any:
    return anp.sqrt(x * x + y * y)


def flip(x: Any, /, *, axis: Any = None) -> Any:
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis) % x.ndim
    return x[tuple(slice(None, None, -1 if i in axes else None) for i in range(x.ndim))]


def take(x: Any, indices: Any, /, *, axis: int = 0) -> Any:
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
    where = list(np.indices(indices.shape, sparse=True))
    where[axis] = indices
    return x[tuple(where)]


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(take(x, i, axis=axis) for i in range(x.shape[axis]))


def vecdot(x: Any, y: Any, /, *, axis: int = -1) -> Any:
    return anp.sum(x * y, axis=axis)
