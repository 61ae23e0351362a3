"""Other shapes of the same elements, parts of arrays, and arrays side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.torch.table.call import Call, axes_of, axis_of, is_array
from hal.torch.table.entries import op
from hal.types import Array

__all__ = ["moved_to_end", "sliced"]


@op("view reshape _unsafe_view view_copy _reshape_copy _reshape_alias")
def _view(c: Call, x: Array, shape: Sequence[int], *_: Any) -> Array:
    return c.xp.reshape(x, tuple(shape))


@op("view_as reshape_as")
def _view_as(c: Call, x: Array, other: Array) -> Array:
    return c.xp.reshape(x, tuple(other.shape))


@op("unflatten.int")
def _unflatten(c: Call, x: Array, dim: int, sizes: Sequence[int]) -> Array:
    axis = axis_of(dim, x)
    return c.xp.reshape(x, (*x.shape[:axis], *_whole(x.shape[axis], sizes), *x.shape[axis + 1 :]))


def _whole(size: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes with -1 replaced by what is left."""
    known = math.prod(s for s in sizes if s != -1)
    return tuple(size // known if s == -1 else s for s in sizes)


@op("flatten.using_ints")
def _flatten(c: Call, x: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    first, last = axis_of(start_dim, x), axis_of(end_dim, x)
    return c.xp.reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


@op("permute")
def _permute(c: Call, x: Array, dims: Sequence[int]) -> Array:
    return c.xp.permute_dims(x, tuple(axis_of(dim, x) for dim in dims))


@op("transpose.int swapaxes swapdims")
def _transpose(c: Call, x: Array, dim0: int, dim1: int) -> Array:
    if not x.shape:
        return x
    order = list(range(len(x.shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return c.xp.permute_dims(x, tuple(order))


@op("movedim.int movedim.intlist moveaxis.int moveaxis.intlist")
def _movedim(c: Call, x: Array, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    return c.xp.moveaxis(x, source, destination)


@op("t")
def _t(c: Call, x: Array) -> Array:
    return c.xp.matrix_transpose(x) if len(x.shape) > 1 else x


@op("numpy_T")
def _reversed_axes(c: Call, x: Array) -> Array:
    return c.xp.permute_dims(x, tuple(reversed(range(len(x.shape)))))


@op("mT adjoint matrix_H")
def _matrix_transpose(c: Call, x: Array) -> Array:
    return c.xp.matrix_transpose(x)


@op("expand")
def _expand(c: Call, x: Array, size: Sequence[int], *, implicit: bool = False) -> Array:
    more = len(size) - len(x.shape)
    shape = tuple(x.shape[axis - more] if s == -1 else s for axis, s in enumerate(size))
    return x if shape == tuple(x.shape) else c.xp.broadcast_to(x, shape)


@op("expand_as")
def _expand_as(c: Call, x: Array, other: Array) -> Array:
    return c.xp.broadcast_to(x, tuple(other.shape))


@op("broadcast_to")
def _broadcast_to(c: Call, x: Array, size: Sequence[int]) -> Array:
    return _expand(c, x, size)


@op("broadcast_tensors")
def _broadcast_tensors(c: Call, tensors: Sequence[Array]) -> list[Array]:
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in tensors))
    return [c.xp.broadcast_to(x, shape) for x in tensors]


@op("meshgrid meshgrid.indexing")
def _meshgrid(c: Call, tensors: Sequence[Array], *, indexing: str = "ij") -> list[Array]:
    sizes = [math.prod(x.shape) for x in tensors]
    found = []
    for axis, x in enumerate(tensors):
        own = [1] * len(sizes)
        own[axis] = sizes[axis]
        grid = c.xp.broadcast_to(c.xp.reshape(x, tuple(own)), tuple(sizes))
        swap = indexing == "xy" and len(sizes) > 1
        found.append(c.xp.permute_dims(grid, (1, 0, *range(2, len(sizes)))) if swap else grid)
    return found


@op("unsqueeze")
def _unsqueeze(c: Call, x: Array, dim: int) -> Array:
    return c.xp.expand_dims(x, axis=dim)


@op("squeeze squeeze.dim squeeze.dims")
def _squeeze(c: Call, x: Array, dim: int | Sequence[int] | None = None) -> Array:
    named = () if dim is not None and not isinstance(dim, int) and not dim else axes_of(dim, x)
    axes = tuple(axis for axis in named if x.shape[axis] == 1)
    return c.xp.squeeze(x, axis=axes) if axes else x


@op("select.int")
def _select(c: Call, x: Array, dim: int, index: int) -> Array:
    return x[(*[slice(None)] * axis_of(dim, x), index, ...)]


def sliced(x: Array, dim: int, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    """A part of an array along one axis; bounds beyond it are those of the axis, as in PyTorch."""
    axis = axis_of(dim, x)
    first, last, _ = slice(start, end, step).indices(x.shape[axis])
    if (first, last, step) == (0, x.shape[axis], 1):
        return x
    return x[(*[slice(None)] * axis, slice(first, max(last, first), step), ...)]


@op("slice.Tensor slice_copy.Tensor")
def _slice(c: Call, x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return sliced(x, dim, start, end, step)


@op("narrow")
def _narrow(c: Call, x: Array, dim: int, start: int, length: int) -> Array:
    first = start % x.shape[dim] if start < 0 else start
    return sliced(x, dim, first, first + length)


@op("select_scatter")
def _select_scatter(c: Call, x: Array, source: Array, dim: int, index: int) -> Array:
    axis = axis_of(dim, x)
    at = index % x.shape[axis]
    return _between_parts(c, x, c.xp.expand_dims(c.cast(source, x.dtype), axis=axis), axis, at, at + 1)


@op("slice_scatter")
def _slice_scatter(
    c: Call, x: Array, source: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    axis = axis_of(dim, x)
    size = x.shape[axis]
    first, last, _ = slice(start, end, step).indices(size)
    source = c.cast(source, x.dtype)
    if step == 1:
        return _between_parts(c, x, source, axis, first, max(last, first))
    # Each position takes either its own element or, at every step-th one, the source's.
    wanted = np.arange(size)
    inside = np.isin(wanted, np.arange(first, last, step))
    place = np.where(inside, (wanted - first) // step, 0)
    spread = c.xp.take(source, c.constant(place), axis=axis)
    shape = tuple(size if a == axis else 1 for a in range(len(x.shape)))
    return c.xp.where(c.constant(inside.reshape(shape)), spread, x)


def _between_parts(c: Call, x: Array, source: Array, axis: int, first: int, last: int) -> Array:
    parts = [sliced(x, axis, 0, first), source, sliced(x, axis, last, None)]
    kept = [part for part in parts if part.shape[axis]]
    return kept[0] if len(kept) == 1 else c.xp.concat(kept, axis=axis)


@op("diagonal")
def _diagonal(c: Call, x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    x = moved_to_end(c, x, (dim1, dim2))
    rows, columns = x.shape[-2:]
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    at = np.arange(count) * (columns + 1) + (offset if offset >= 0 else -offset * columns)
    return c.xp.take(c.xp.reshape(x, (*x.shape[:-2], rows * columns)), c.constant(at), axis=len(x.shape) - 2)


def moved_to_end(c: Call, x: Array, dims: Sequence[int]) -> Array:
    """An array with some axes moved behind the others."""
    last = [axis_of(dim, x) for dim in dims]
    order = (*(axis for axis in range(len(x.shape)) if axis not in last), *last)
    return x if order == tuple(range(len(x.shape))) else c.xp.permute_dims(x, order)


@op("cat concat concatenate")
def _cat(c: Call, tensors: Sequence[Array], dim: int = 0) -> Array:
    # PyTorch leaves out tensors of shape (0,), whatever the shape of the others.
    parts = [x for x in tensors if tuple(x.shape) != (0,)] or list(tensors[:1])
    parts = c.promoted(*parts)
    return parts[0] if len(parts) == 1 else c.xp.concat(parts, axis=dim)


@op("stack")
def _stack(c: Call, tensors: Sequence[Array], dim: int = 0) -> Array:
    return c.xp.stack(c.promoted(*tensors), axis=dim)


@op("split.Tensor split_with_sizes split.sizes split_copy.Tensor")
def _split(c: Call, x: Array, sizes: int | Sequence[int], dim: int = 0) -> list[Array]:
    total = x.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, max(sizes, 1))] or [0]
    bounds = list(itertools.accumulate(sizes, initial=0))
    return [sliced(x, dim, first, last) for first, last in itertools.pairwise(bounds)]


@op("chunk")
def _chunk(c: Call, x: Array, chunks: int, dim: int = 0) -> list[Array]:
    return _split(c, x, max(-(-x.shape[dim] // chunks), 1), dim)


@op("tensor_split.sections")
def _tensor_split(c: Call, x: Array, sections: int, dim: int = 0) -> list[Array]:
    size, rest = divmod(x.shape[dim], sections)
    return _split(c, x, [size + (part < rest) for part in range(sections)], dim)


@op("unbind.int")
def _unbind(c: Call, x: Array, dim: int = 0) -> list[Array]:
    return [_select(c, x, dim, index) for index in range(x.shape[dim])]


@op("unfold")
def _unfold(c: Call, x: Array, dimension: int, size: int, step: int) -> Array:
    axis = axis_of(dimension, x)
    starts = np.arange((x.shape[axis] - size) // step + 1) * step
    at = c.constant((starts[:, None] + np.arange(size)).reshape(-1))
    y = c.xp.reshape(c.xp.take(x, at, axis=axis), (*x.shape[:axis], len(starts), size, *x.shape[axis + 1 :]))
    return moved_to_end(c, y, (axis + 1,))


@op("flip")
def _flip(c: Call, x: Array, dims: Sequence[int]) -> Array:
    return c.xp.flip(x, axis=tuple(dims)) if dims else x


@op("fliplr")
def _fliplr(c: Call, x: Array) -> Array:
    return c.xp.flip(x, axis=1)


@op("flipud")
def _flipud(c: Call, x: Array) -> Array:
    return c.xp.flip(x, axis=0)


@op("roll")
def _roll(c: Call, x: Array, shifts: Sequence[int], dims: Sequence[int] = ()) -> Array:
    return c.xp.roll(x, tuple(shifts), axis=tuple(dims)) if dims else c.xp.roll(x, shifts[0])


@op("repeat tile")
def _repeat(c: Call, x: Array, repeats: Sequence[int]) -> Array:
    return c.xp.tile(x, tuple(repeats)) if any(count != 1 for count in repeats) or len(repeats) > len(x.shape) else x


@op("repeat_interleave.self_int")
def _repeat_interleave(c: Call, x: Array, repeats: int, dim: int | None = None, *, output_size: Any = None) -> Array:
    x = c.xp.reshape(x, (-1,)) if dim is None else x
    return c.xp.repeat(x, repeats, axis=0 if dim is None else axis_of(dim, x))


@op("pixel_shuffle")
def _pixel_shuffle(c: Call, x: Array, upscale_factor: int) -> Array:
    r, (*rest, channels, height, width) = upscale_factor, x.shape
    y = c.xp.reshape(x, (-1, channels // r**2, r, r, height, width))
    y = c.xp.permute_dims(y, (0, 1, 4, 2, 5, 3))
    return c.xp.reshape(y, (*rest, channels // r**2, height * r, width * r))


@op("pixel_unshuffle")
def _pixel_unshuffle(c: Call, x: Array, downscale_factor: int) -> Array:
    r, (*rest, channels, height, width) = downscale_factor, x.shape
    y = c.xp.reshape(x, (-1, channels, height // r, r, width // r, r))
    y = c.xp.permute_dims(y, (0, 1, 3, 5, 2, 4))
    return c.xp.reshape(y, (*rest, channels * r**2, height // r, width // r))


@op("channel_shuffle")
def _channel_shuffle(c: Call, x: Array, groups: int) -> Array:
    batch, channels, *rest = x.shape
    y = c.xp.reshape(x, (batch, groups, channels // groups, *rest))
    y = c.xp.permute_dims(y, (0, 2, 1, *range(3, len(rest) + 3)))
    return c.xp.reshape(y, tuple(x.shape))


# The same values


@op("clone alias contiguous lift_fresh lift_fresh_copy")
def _same(c: Call, x: Array, *_: Any, **__: Any) -> Array:
    return x


@op("detach detach_copy")
def _detach(c: Call, x: Array) -> Array:
    return c.xp.stop_gradient(x)


@op("_to_copy to.dtype to.dtype_layout to.device to.other type_as")
def _to(c: Call, x: Array, *_: Any, **__: Any) -> Array:
    return c.cast(x, c.result)


@op("copy")
def _copy(c: Call, x: Array, source: Array, *_: Any) -> Array:
    source = c.cast(source, x.dtype)
    return source if tuple(source.shape) == tuple(x.shape) else c.xp.broadcast_to(source, tuple(x.shape))


@op("fill.Scalar fill.Tensor")
def _fill(c: Call, x: Array, value: Any) -> Array:
    return c.full(x.shape, value, x.dtype) if is_array(value) else c.xp.filled(tuple(x.shape), value, like=x)
