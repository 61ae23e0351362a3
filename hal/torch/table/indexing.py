"""Elements by their positions: read, written, sorted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.torch.table.call import Call, axis_of, is_array
from hal.torch.table.entries import op, unsupported
from hal.torch.table.shapes import sliced
from hal.types import Array

__all__: list[str] = []

_MASK = (
    "indexing by a boolean mask gives a shape that depends on values; use torch.where(mask, x, 0), or multiply by the "
    "mask, and keep the shape"
)


def _counted(c: Call, index: Array, size: int) -> Array:
    """Positions counted from the front, where negative ones count from the end."""
    return c.xp.where(c.xp.less(index, 0), c.xp.add(index, size), index)


@op("index.Tensor")
def _index(c: Call, x: Array, indices: Sequence[Array | None]) -> Array:
    if any(index is not None and c.kind(index) == "b" for index in indices):
        raise unsupported(_MASK)
    places = [axis for axis, index in enumerate(indices) if index is not None]
    arrays = [_counted(c, index, x.shape[axis]) for axis, index in enumerate(indices) if index is not None]
    shape = np.broadcast_shapes(*(tuple(array.shape) for array in arrays))
    if len(places) == 1:
        axis = places[0]
        rows = c.xp.take(x, c.xp.reshape(arrays[0], (-1,)), axis=axis)
        return c.xp.reshape(rows, (*x.shape[:axis], *shape, *x.shape[axis + 1 :]))
    # Several axes are taken as one: their positions become a single number.
    others = [axis for axis in range(len(x.shape)) if axis not in places]
    sizes = [x.shape[axis] for axis in places]
    front = c.xp.permute_dims(x, (*places, *others))
    front = c.xp.reshape(front, (math.prod(sizes), *(x.shape[axis] for axis in others)))
    number = arrays[0]
    for array, size in zip(arrays[1:], sizes[1:], strict=True):
        number = c.xp.add(c.xp.multiply(number, size), array)
    number = c.xp.reshape(c.xp.broadcast_to(number, shape), (-1,))
    y = c.xp.reshape(c.xp.take(front, number, axis=0), (*shape, *front.shape[1:]))
    if places != list(range(places[0], places[-1] + 1)) or not places[0]:
        return y  # axes apart from each other are put in front, in PyTorch as in NumPy
    before, count = places[0], len(shape)
    order = (*range(count, count + before), *range(count), *range(count + before, len(y.shape)))
    return c.xp.permute_dims(y, order)


@op("index_select")
def _index_select(c: Call, x: Array, dim: int, index: Array) -> Array:
    return c.xp.take(x, c.xp.reshape(index, (-1,)), axis=axis_of(dim, x))


@op("gather")
def _gather(c: Call, x: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    axis = axis_of(dim, x)
    for other in range(len(x.shape)):
        if other != axis:
            x = sliced(x, other, 0, index.shape[other])
    return c.xp.take_along_axis(x, index, axis=axis)


@op("take_along_dim")
def _take_along_dim(c: Call, x: Array, indices: Array, dim: int | None = None) -> Array:
    if dim is None:
        return c.xp.take(c.xp.reshape(x, (-1,)), c.xp.reshape(indices, (-1,)), axis=0)
    axis = axis_of(dim, x)
    sizes = zip(x.shape, indices.shape, strict=True)
    shape = [1 if at == axis else max(pair) for at, pair in enumerate(sizes)]
    x = c.xp.broadcast_to(x, tuple(x.shape[axis] if at == axis else size for at, size in enumerate(shape)))
    index = tuple(indices.shape[axis] if at == axis else size for at, size in enumerate(shape))
    return c.xp.take_along_axis(x, c.xp.broadcast_to(indices, index), axis=axis)


@op("embedding")
def _embedding(
    c: Call, table: Array, ids: Array, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Array:
    if scale_grad_by_freq:
        raise unsupported("an embedding with scale_grad_by_freq=True has a gradient of its own; leave it out")
    rows = c.xp.embedding(table, ids)
    if padding_idx < 0:
        return rows
    padding = c.xp.expand_dims(c.xp.equal(ids, padding_idx), axis=-1)
    return c.xp.where(padding, c.xp.stop_gradient(rows), rows)


@op("one_hot")
def _one_hot(c: Call, x: Array, num_classes: int = -1) -> Array:
    if num_classes < 0:
        raise unsupported("one_hot without num_classes gives a shape that depends on values; pass num_classes")
    classes = c.constant(np.arange(num_classes), x.dtype)
    return c.cast(c.xp.equal(c.xp.expand_dims(x, axis=-1), classes), c.result)


# Writing


def _source(c: Call, x: Array, index: Array, source: Any) -> Array:
    if not is_array(source):
        return c.xp.filled(tuple(index.shape), source, like=x)
    for axis, size in enumerate(index.shape):
        source = sliced(source, axis, 0, size)
    return c.cast(source, x.dtype)


@op("scatter.src scatter.value")
def _scatter(c: Call, x: Array, dim: int, index: Array, source: Any) -> Array:
    return c.xp.scatter(x, axis_of(dim, x), index, _source(c, x, index, source))


@op("scatter_add")
def _scatter_add(c: Call, x: Array, dim: int, index: Array, source: Array) -> Array:
    return c.xp.scatter(x, axis_of(dim, x), index, _source(c, x, index, source), add=True)


@op("scatter.reduce scatter.value_reduce scatter_reduce.two")
def _scatter_reduce(
    c: Call, x: Array, dim: int, index: Array, source: Any, reduce: str, *, include_self: bool = True
) -> Array:
    if reduce not in ("sum", "add") or not include_self:
        raise unsupported(f"scatter_reduce with reduce={reduce!r} and include_self={include_self}; only sums onto x")
    return _scatter_add(c, x, dim, index, source)


@op("index_put")
def _index_put(c: Call, x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    values = c.cast(values, x.dtype)
    masks = [index for index in indices if index is not None and c.kind(index) == "b"]
    if masks:
        if len(indices) > 1 or math.prod(values.shape) != 1:
            raise unsupported(f"{_MASK}; only one value may be written to x[mask]")
        mask = c.xp.reshape(masks[0], (*masks[0].shape, *[1] * (len(x.shape) - len(masks[0].shape))))
        value = c.xp.reshape(values, ())
        return c.xp.where(mask, c.xp.add(x, value) if accumulate else value, x)
    return c.xp.index_put(x, tuple(indices), values, add=accumulate)


def _along(dim: int, x: Array, index: Array) -> tuple[Array | None, ...]:
    return (*[None] * axis_of(dim, x), index)


@op("index_add")
def _index_add(c: Call, x: Array, dim: int, index: Array, source: Array, *, alpha: Any = 1) -> Array:
    source = source if alpha == 1 else c.xp.multiply(source, alpha)
    return c.xp.index_put(x, _along(dim, x, index), c.cast(source, x.dtype), add=True)


@op("index_copy")
def _index_copy(c: Call, x: Array, dim: int, index: Array, source: Array) -> Array:
    return c.xp.index_put(x, _along(dim, x, index), c.cast(source, x.dtype))


@op("index_fill.int_Scalar index_fill.int_Tensor")
def _index_fill(c: Call, x: Array, dim: int, index: Array, value: Any) -> Array:
    axis = axis_of(dim, x)
    shape = (*x.shape[:axis], index.shape[0], *x.shape[axis + 1 :])
    return c.xp.index_put(x, _along(dim, x, index), c.full(shape, value, x.dtype))


# Order


@op("topk")
def _topk(c: Call, x: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Array, Array]:
    if largest:
        values, indices = c.xp.topk(x, k, axis=axis_of(dim, x))
        return values, indices
    values, indices = c.xp.topk(c.xp.negative(x), k, axis=axis_of(dim, x))
    return c.xp.negative(values), indices


@op("sort sort.stable")
def _sort(
    c: Call, x: Array, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> tuple[Array, Array]:
    order = _argsort(c, x, dim, descending)
    return c.xp.take_along_axis(x, order, axis=axis_of(dim, x)), order


@op("argsort argsort.stable")
def _argsort(c: Call, x: Array, dim: int = -1, descending: bool = False, *, stable: bool = True) -> Array:
    return c.xp.argsort(x, axis=axis_of(dim, x), descending=descending, stable=True)


@op("searchsorted.Tensor")
def _searchsorted(
    c: Call, sorted_sequence: Array, x: Array, *, out_int32: bool = False, right: bool = False, side: Any = None,
    sorter: Any = None,
) -> Array:  # fmt: skip
    if sorter is not None or len(sorted_sequence.shape) != 1:
        raise unsupported("searchsorted in rows of their own, or with a sorter")
    side = side or ("right" if right else "left")
    found = c.xp.searchsorted(sorted_sequence, c.xp.reshape(x, (-1,)), side=side)
    return c.cast(c.xp.reshape(found, tuple(x.shape)), c.result)


@op("bucketize.Tensor")
def _bucketize(c: Call, x: Array, boundaries: Array, *, out_int32: bool = False, right: bool = False) -> Array:
    return _searchsorted(c, boundaries, x, right=right)


@op("tril")
def _tril(c: Call, x: Array, diagonal: int = 0) -> Array:
    return _triangle(c, x, diagonal, "tril")


@op("triu")
def _triu(c: Call, x: Array, diagonal: int = 0) -> Array:
    return _triangle(c, x, diagonal, "triu")


def _triangle(c: Call, x: Array, diagonal: int, which: str) -> Array:
    inside = getattr(np, which)(np.ones(tuple(x.shape[-2:]), bool), diagonal)
    return c.xp.where(c.constant(inside), x, c.xp.zeros_like(x))
