"""Functions of the Array API standard, 2024.12, that move and convert data."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.backends._traced import shapes
from hal.backends._traced.dtypes import as_dtype, int64, promote
from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.devices import runtime_of
from hal.backends.opencl.indexing import flat_positions, wrapped
from hal.errors import ShapeError

__all__ = [
    "astype",
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "take",
    "take_along_axis",
    "tile",
    "to_device",
    "unstack",
]

Array = OpenclArray
Axes = int | Sequence[int]


def astype(x: Array, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
    """The same values in another type."""
    moved = x if device is None else x.to_device(device)
    return p.cast(moved, as_dtype(dtype))


def broadcast_to(x: Array, /, shape: Sequence[int]) -> Array:
    """X repeated along axes of size 1."""
    return p.broadcast(x, shapes.broadcast_to(x.shape, shape))


def broadcast_arrays(*arrays: Array) -> list[Array]:
    """Arrays of one common shape."""
    shape = shapes.broadcast(*(x.shape for x in arrays))
    return [broadcast_to(x, shape) for x in arrays]


def concat(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Array:
    """Arrays side by side along an axis they have."""
    if axis is None:
        return concat([reshape(x, (-1,)) for x in arrays], axis=0)
    at, _ = shapes.concatenated([x.shape for x in arrays], axis)
    dtype = promote(*arrays)
    return p.concat([p.cast(x, dtype) for x in arrays], at)


def stack(arrays: Sequence[Array], /, *, axis: int = 0) -> Array:
    """Arrays side by side along a new axis."""
    at, _ = shapes.stacked([x.shape for x in arrays], axis)
    dtype = promote(*arrays)
    return p.concat([p.cast(expand_dims(x, axis=at), dtype) for x in arrays], at)


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """One array for each position along an axis."""
    at = shapes.axis_of(axis, x.ndim)
    return tuple(x[(*[slice(None)] * at, i, ...)] for i in range(x.shape[at]))


def expand_dims(x: Array, /, *, axis: int = 0) -> Array:
    """A new axis of size 1."""
    at = shapes.axis_of(axis, x.ndim + 1)
    return p.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Array, /, axis: Axes) -> Array:
    """Without some axes of size 1."""
    return p.reshape(x, shapes.squeezed(x.shape, axis))


def flip(x: Array, /, *, axis: Axes | None = None) -> Array:
    """Values in the opposite order along axes."""
    axes = shapes.axes_of(axis, x.ndim)
    turned = [k in axes and n > 1 for k, n in enumerate(x.shape)]
    starts = [n - 1 if turn else 0 for turn, n in zip(turned, x.shape, strict=True)]
    return p.cut(x, starts, [-1 if turn else 1 for turn in turned], x.shape)


def matrix_transpose(x: Array, /) -> Array:
    """The last two axes swapped."""
    if x.ndim < 2:
        raise ShapeError(f".mT of shape {x.shape}: the array must have at least two axes")
    return p.permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def permute_dims(x: Array, /, axes: Sequence[int]) -> Array:
    """The axes in another order."""
    return p.permute(x, shapes.permuted(x.shape, axes))


def moveaxis(x: Array, source: Axes, destination: Axes, /) -> Array:
    """Some axes in other places."""
    return p.permute(x, shapes.moved(x.ndim, source, destination))


def reshape(x: Array, /, shape: Sequence[int], *, copy: bool | None = None) -> Array:
    """The elements in another shape."""
    return p.reshape(x, shapes.reshaped(x.shape, shape))


def repeat(x: Array, repeats: int | Array, /, *, axis: int | None = None) -> Array:
    """Each element several times in a row. Where an array says how often, the host counts."""
    source = reshape(x, (-1,)) if axis is None else x
    at = shapes.axis_of(axis or 0, source.ndim)
    if isinstance(repeats, Array):
        counts = np.broadcast_to(np.asarray(repeats.__array__()).astype(np.int64), (source.shape[at],))
        positions = np.repeat(np.arange(source.shape[at]), counts)
        return take(source, p.from_numpy(x.runtime, positions), axis=at)
    count = shapes.shape_of(operator.index(repeats))[0]
    before, after = source.shape[:at], source.shape[at + 1 :]
    inner = p.reshape(source, (*before, source.shape[at], 1, *after))
    wide = p.expand(inner, (*before, source.shape[at], count, *after))
    return p.reshape(wide, (*before, source.shape[at] * count, *after))


def tile(x: Array, repetitions: Sequence[int], /) -> Array:
    """The whole array several times along its axes."""
    counts = shapes.shape_of(repetitions)
    ndim = max(x.ndim, len(counts))
    old, times = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(counts)) + counts
    split = p.reshape(x, [size for n in old for size in (1, n)])
    wide = p.expand(split, [size for n, count in zip(old, times, strict=True) for size in (count, n)])
    return p.reshape(wide, [n * count for n, count in zip(old, times, strict=True)])


def roll(x: Array, /, shift: Axes, *, axis: Axes | None = None) -> Array:
    """Values moved along axes, those that leave coming in at the other end."""
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, axis=0), x.shape)
    axes = shapes.rolled(x.ndim, shift, axis)
    shifts = shift if isinstance(shift, Sequence) else (shift,) * len(axes)
    for at, by in zip(axes, shifts, strict=True):
        n = x.shape[at]
        if n and by % n:
            front = (slice(None),) * at
            x = p.concat([x[(*front, slice(n - by % n, None), ...)], x[(*front, slice(0, n - by % n), ...)]], at)
    return x


def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """Elements along an axis by their positions; negative ones count from the end."""
    at, _ = shapes.taken(x.shape, indices.shape, indices.dtype, axis)
    front = p.permute(x, (at, *(k for k in range(x.ndim) if k != at)))
    found = p.gather(front, wrapped(indices, x.shape[at]))
    rest = list(range(indices.ndim, found.ndim))
    return p.permute(found, [*rest[:at], *range(indices.ndim), *rest[at:]])


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """Elements along an axis by positions that may differ everywhere else."""
    at, shape = shapes.taken_along(x.shape, indices.shape, indices.dtype, axis)
    whole = p.broadcast(x, (*shape[:at], x.shape[at], *shape[at + 1 :]))
    positions = p.broadcast(wrapped(indices, x.shape[at]), shape)
    grid = []
    for k, n in enumerate(shape):
        along = p.reshape(p.iota(x.runtime, n, int64), [n if k == other else 1 for other in range(len(shape))])
        grid.append(positions if k == at else p.broadcast(along, shape))
    return p.gather(p.reshape(whole, (whole.size,)), flat_positions(grid, whole.shape))


def to_device(x: Array, device: Any) -> Array:
    """X on a device, copied through the host if that is another one."""
    target = runtime_of(device)
    return x if target is x.runtime else p.from_numpy(target, x.__array__())
