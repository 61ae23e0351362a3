"""Creation functions of the Array API standard, 2024.12."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.backends._traced import dtypes, shapes
from hal.backends._traced.dtypes import DType, as_dtype, float32, promote
from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.devices import runtime_of
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

Array = OpenclArray
Size = int | Sequence[int]


def _chosen(dtype: Any, default: DType) -> DType:
    return default if dtype is None else as_dtype(dtype)


def _constant(shape: Size, value: Any, dtype: DType, device: Any) -> Array:
    return p.constant(runtime_of(device), value, dtype, shapes.shape_of(shape))


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None
) -> Array:
    """Evenly spaced numbers from start up to stop, which is not among them."""
    first, last = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ShapeError("arange was given step=0, which never reaches the end; use another step, or full")
    whole = all(isinstance(n, int) for n in (first, last, step))
    chosen = _chosen(dtype, dtypes.int64 if whole else float32)
    runtime, count = runtime_of(device), max(math.ceil((last - first) / step), 0)
    if (first, step) == (0, 1) and chosen.kind in "iuf":
        return p.iota(runtime, count, chosen)
    return p.from_numpy(runtime, np.asarray(first + step * np.arange(count)).astype(np.dtype(chosen.name)))


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Array:
    """An array from an array, a scalar or nested sequences of scalars."""
    if isinstance(obj, Array):
        moved = obj if device is None else obj.to_device(device)
        return moved if dtype is None else p.cast(moved, as_dtype(dtype))
    if copy is False:
        raise ValueError("asarray was given copy=False, but what is on the host has to be copied to the device")
    if isinstance(obj, (list, tuple)) and any(isinstance(x, Array) for x in obj):
        obj = [x.tolist() if isinstance(x, Array) else x for x in obj]
    try:
        host = np.asarray(obj)
    except ValueError as error:
        raise ShapeError(f"asarray was given sequences of unequal lengths: {error}") from error
    if host.dtype.kind not in "biufc":
        raise UnsupportedError(f"asarray was given {type(obj).__name__}", fix="pass numbers or arrays")
    default = as_dtype(host.dtype)
    if not hasattr(obj, "dtype"):
        default = promote(host.flat[0].item()) if host.size else float32
    return p.from_numpy(runtime_of(device), host.astype(np.dtype(_chosen(dtype, default).name)))


def empty(shape: Size, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros, since nothing that was in memory before should show."""
    return zeros(shape, dtype=dtype, device=device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Array:
    """A matrix with ones on a diagonal."""
    rows, columns = shapes.shape_of((n_rows, n_rows if n_cols is None else n_cols))
    runtime = runtime_of(device)
    below, across = p.iota(runtime, rows, dtypes.int64), p.iota(runtime, columns, dtypes.int64)
    return p.cast(p.reshape(below, (rows, 1)) + k == p.reshape(across, (1, columns)), _chosen(dtype, float32))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """An array of this backend itself, or a copy of a host array of another framework."""
    if isinstance(x, Array):
        return x
    if copy is False:
        raise ValueError("from_dlpack was given copy=False, but what is on the host has to be copied to the device")
    return p.from_numpy(runtime_of(device), np.from_dlpack(x))


def full(shape: Size, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of one value."""
    if isinstance(fill_value, Array):
        return p.broadcast(fill_value if dtype is None else p.cast(fill_value, as_dtype(dtype)), shapes.shape_of(shape))
    return _constant(shape, fill_value, _chosen(dtype, promote(fill_value)), device)


def linspace(
    start: float, stop: float, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Array:
    """So many evenly spaced numbers from start to stop."""
    chosen = _chosen(dtype, promote(float32, start, stop))
    host = np.linspace(start, stop, shapes.shape_of(num)[0], endpoint=endpoint)
    return p.from_numpy(runtime_of(device), host.astype(np.dtype(chosen.name)))


def ones(shape: Size, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of ones."""
    return _constant(shape, 1, _chosen(dtype, float32), device)


def zeros(shape: Size, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of zeros."""
    return _constant(shape, 0, _chosen(dtype, float32), device)


def empty_like(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros in another array's form."""
    return full_like(x, 0, dtype=dtype, device=device)


def full_like(x: Array, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of one value in another array's form."""
    runtime = x.runtime if device is None else runtime_of(device)
    return p.constant(runtime, fill_value, _chosen(dtype, x.dtype), x.shape)


def ones_like(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones in another array's form."""
    return full_like(x, 1, dtype=dtype, device=device)


def zeros_like(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros in another array's form."""
    return full_like(x, 0, dtype=dtype, device=device)


def meshgrid(*arrays: Array, indexing: str = "xy") -> list[Array]:
    """Coordinates of a grid from those along its axes."""
    if any(x.ndim > 1 for x in arrays):
        raise ShapeError("meshgrid takes only arrays of one axis")
    sizes, places = [x.size for x in arrays], list(range(len(arrays)))
    if indexing == "xy" and len(sizes) > 1:
        sizes[0], sizes[1] = sizes[1], sizes[0]
        places[0], places[1] = 1, 0
    grids = []
    for x, place in zip(arrays, places, strict=True):
        shape = [x.size if axis == place else 1 for axis in range(len(sizes))]
        grids.append(p.broadcast(p.reshape(x, shape), tuple(sizes)))
    return grids


def tril(x: Array, /, *, k: int = 0) -> Array:
    """A matrix with zeros above a diagonal."""
    return _triangle("tril", x, k, "greater_equal")


def triu(x: Array, /, *, k: int = 0) -> Array:
    """A matrix with zeros below a diagonal."""
    return _triangle("triu", x, k, "less_equal")


def _triangle(name: str, x: Array, k: int, kept: str) -> Array:
    if x.ndim < 2:
        raise ShapeError(f"{name} of shape {x.shape}: it should have at least two axes")
    rows, columns = (p.iota(x.runtime, n, dtypes.int64) for n in x.shape[-2:])
    inside = p.elementwise(kept, p.reshape(rows, (x.shape[-2], 1)) + k, p.reshape(columns, (1, x.shape[-1])))
    return p.elementwise("where", inside, x, zeros_like(x))
