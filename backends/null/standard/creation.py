"""Creation functions of the Array API standard, 2024.12. Making an array costs writing it, and no operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.backends._traced import shapes
from hal.backends._traced.dtypes import DType, as_dtype, float32, int64, promote
from hal.backends.null.array import NullArray, operate
from hal.backends.null.device import DEVICE
from hal.errors import ShapeError, UnsupportedError

__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

Size = int | Sequence[int]


def _make(name: str, shape: tuple[int, ...], dtype: DType, device: Any, write: int | None = None) -> NullArray:
    if device is not None and device != DEVICE:
        raise UnsupportedError(f"device={device} is not a device of the null backend", fix=f"use device={DEVICE}")
    return operate(name, (), shape, dtype, write=write)


def _chosen(dtype: Any, default: DType) -> DType:
    return default if dtype is None else as_dtype(dtype)


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None
) -> NullArray:
    """Evenly spaced numbers from start up to stop, which is not among them."""
    first, last = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ShapeError("arange was given step=0, which never reaches the end; use another step, or full")
    default = int64 if all(isinstance(n, int) for n in (first, last, step)) else float32
    return _make("arange", (max(math.ceil((last - first) / step), 0),), _chosen(dtype, default), device)


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> NullArray:
    """An array of the form of an array, a scalar or nested sequences of scalars; their values are dropped."""
    if isinstance(obj, NullArray):
        from hal.backends.null.standard.manipulation import astype

        return astype(obj, obj.dtype if dtype is None else dtype, copy=bool(copy))
    if hasattr(obj, "dtype"):
        return _make("asarray", tuple(obj.shape), _chosen(dtype, as_dtype(obj.dtype)), device)
    try:
        host = np.asarray(obj)
    except ValueError as error:
        raise ShapeError(f"asarray was given sequences of unequal lengths: {error}") from error
    if host.dtype.kind not in "biufc":
        raise UnsupportedError(f"asarray was given {type(obj).__name__}", fix="pass numbers or arrays")
    # Python's scalars take the default type of their kind; an empty list counts as floating.
    return _make("asarray", host.shape, _chosen(dtype, promote(host.flat[0].item()) if host.size else float32), device)


def empty(shape: Size, *, dtype: Any = None, device: Any = None) -> NullArray:
    """An array that nothing has been written to."""
    return _make("empty", shapes.shape_of(shape), _chosen(dtype, float32), device, write=0)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> NullArray:
    """A matrix with ones on a diagonal."""
    shape = shapes.shape_of((n_rows, n_rows if n_cols is None else n_cols))
    return _make("eye", shape, _chosen(dtype, float32), device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> NullArray:
    """An array of the form of another framework's array, whose memory stays its own."""
    return _make("from_dlpack", tuple(x.shape), as_dtype(x.dtype), device)


def full(shape: Size, fill_value: Any, *, dtype: Any = None, device: Any = None) -> NullArray:
    """An array of one value."""
    return _make("full", shapes.shape_of(shape), _chosen(dtype, promote(fill_value)), device)


def linspace(
    start: complex, stop: complex, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> NullArray:
    """So many evenly spaced numbers from start to stop."""
    default = promote(float32, start, stop)
    return _make("linspace", shapes.shape_of(num), _chosen(dtype, default), device)


def ones(shape: Size, *, dtype: Any = None, device: Any = None) -> NullArray:
    """An array of ones."""
    return _make("ones", shapes.shape_of(shape), _chosen(dtype, float32), device)


def zeros(shape: Size, *, dtype: Any = None, device: Any = None) -> NullArray:
    """An array of zeros."""
    return _make("zeros", shapes.shape_of(shape), _chosen(dtype, float32), device)


def empty_like(x: NullArray, /, *, dtype: Any = None, device: Any = None) -> NullArray:
    """An array of another one's form that nothing has been written to."""
    return _make("empty_like", x.shape, _chosen(dtype, x.dtype), device, write=0)


def full_like(x: NullArray, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> NullArray:
    """An array of one value in another one's form."""
    return _make("full_like", x.shape, _chosen(dtype, x.dtype), device)


def ones_like(x: NullArray, /, *, dtype: Any = None, device: Any = None) -> NullArray:
    """Ones in another array's form."""
    return _make("ones_like", x.shape, _chosen(dtype, x.dtype), device)


def zeros_like(x: NullArray, /, *, dtype: Any = None, device: Any = None) -> NullArray:
    """Zeros in another array's form."""
    return _make("zeros_like", x.shape, _chosen(dtype, x.dtype), device)


def meshgrid(*arrays: NullArray, indexing: str = "xy") -> tuple[NullArray, ...]:
    """Coordinates of a grid from those along its axes."""
    if any(x.ndim > 1 for x in arrays):
        raise ShapeError("meshgrid takes only arrays of one axis")
    sizes = [x.size for x in arrays]
    if indexing == "xy" and len(sizes) > 1:
        sizes[0], sizes[1] = sizes[1], sizes[0]
    return tuple(operate("meshgrid", (x,), tuple(sizes), x.dtype, saves="nothing") for x in arrays)


def tril(x: NullArray, /, *, k: int = 0) -> NullArray:
    """A matrix with zeros above a diagonal."""
    return _triangle("tril", x)


def triu(x: NullArray, /, *, k: int = 0) -> NullArray:
    """A matrix with zeros below a diagonal."""
    return _triangle("triu", x)


def _triangle(name: str, x: NullArray) -> NullArray:
    if x.ndim < 2:
        raise ShapeError(f"{name} of shape {x.shape}: it should have at least two axes")
    return operate(name, (x,), x.shape, x.dtype, saves="nothing")
