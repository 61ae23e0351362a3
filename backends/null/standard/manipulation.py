"""Functions of the Array API standard, 2024.12, that move and convert data: no operations, and views move nothing."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NoReturn

from hal.backends._traced import shapes
from hal.backends._traced.dtypes import as_dtype, promote
from hal.backends.null.array import NullArray, operate, operate_many, view
from hal.backends.null.device import DEVICE
from hal.backends.null.tape import Spec
from hal.errors import ShapeError, UnsupportedError

__all__ = [
    "astype",
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "nonzero",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "take",
    "take_along_axis",
    "tile",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unstack",
]

Axes = int | Sequence[int]


def astype(x: NullArray, dtype: Any, /, *, copy: bool = True, device: Any = None) -> NullArray:
    """The same values in another type."""
    target = as_dtype(dtype)
    if device is not None and device != DEVICE:
        raise UnsupportedError(f"device={device} is not a device of the null backend", fix=f"use device={DEVICE}")
    if not copy and target == x.dtype:
        return x
    return operate("astype", (x,), x.shape, target, saves="nothing", passes=1)


def broadcast_to(x: NullArray, /, shape: Sequence[int]) -> NullArray:
    """A view that repeats an array along axes of size 1; its gradient sums over them."""
    wanted = shapes.broadcast_to(x.shape, shape)
    return view("broadcast_to", x, wanted, backward_flops=Spec(wanted, x.dtype).size)


def broadcast_arrays(*arrays: NullArray) -> list[NullArray]:
    """Views of one common shape."""
    shape = shapes.broadcast(*(x.shape for x in arrays))
    return [broadcast_to(x, shape) for x in arrays]


def concat(arrays: Sequence[NullArray], /, *, axis: int | None = 0) -> NullArray:
    """Arrays side by side along an axis they have."""
    if axis is None:
        return concat([reshape(x, (-1,)) for x in arrays], axis=0)
    _, shape = shapes.concatenated([x.shape for x in arrays], axis)
    return operate("concat", tuple(arrays), shape, promote(*arrays), saves="nothing")


def stack(arrays: Sequence[NullArray], /, *, axis: int = 0) -> NullArray:
    """Arrays side by side along a new axis."""
    _, shape = shapes.stacked([x.shape for x in arrays], axis)
    return operate("stack", tuple(arrays), shape, promote(*arrays), saves="nothing")


def unstack(x: NullArray, /, *, axis: int = 0) -> tuple[NullArray, ...]:
    """One view for each position along an axis; their gradients are stacked."""
    at = shapes.axis_of(axis, x.ndim)
    if x.shape[at] == 0:
        return ()
    spec = Spec((*x.shape[:at], *x.shape[at + 1 :]), x.dtype)
    return operate_many("unstack", (x,), [spec] * x.shape[at], read=0, write=0, shares=x, saves="nothing")


def expand_dims(x: NullArray, /, *, axis: int = 0) -> NullArray:
    """A view with a new axis of size 1."""
    at = shapes.axis_of(axis, x.ndim + 1)
    return view("expand_dims", x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: NullArray, /, axis: Axes) -> NullArray:
    """A view without some axes of size 1."""
    return view("squeeze", x, shapes.squeezed(x.shape, axis))


def flip(x: NullArray, /, *, axis: Axes | None = None) -> NullArray:
    """Values in the opposite order along axes."""
    shapes.axes_of(axis, x.ndim)
    return operate("flip", (x,), x.shape, x.dtype, saves="nothing")


def matrix_transpose(x: NullArray, /) -> NullArray:
    """A view with the last two axes swapped."""
    if x.ndim < 2:
        raise ShapeError(f".mT of shape {x.shape}: the array must have at least two axes")
    return view("matrix_transpose", x, (*x.shape[:-2], x.shape[-1], x.shape[-2]))


def permute_dims(x: NullArray, /, axes: Sequence[int]) -> NullArray:
    """A view with the axes in another order."""
    return view("permute_dims", x, tuple(x.shape[a] for a in shapes.permuted(x.shape, axes)))


def moveaxis(x: NullArray, source: Axes, destination: Axes, /) -> NullArray:
    """A view with some axes in other places."""
    order = shapes.moved(x.ndim, source, destination)
    return view("moveaxis", x, tuple(x.shape[a] for a in order))


def reshape(x: NullArray, /, shape: Sequence[int], *, copy: bool | None = None) -> NullArray:
    """A view in another shape. A framework copies where the order in memory asks for it; that is not modeled."""
    wanted = shapes.reshaped(x.shape, shape)
    if copy:
        return operate("reshape", (x,), wanted, x.dtype, saves="nothing", passes=1)
    return view("reshape", x, wanted)


def repeat(x: NullArray, repeats: int | NullArray, /, *, axis: int | None = None) -> NullArray:
    """Each element several times in a row."""
    if isinstance(repeats, NullArray):
        raise UnsupportedError(
            "repeat with an array of counts gives a shape that depends on values, but the null backend computes no "
            "values",
            fix="pass one number",
        )
    source = reshape(x, (-1,)) if axis is None else x
    at = shapes.axis_of(axis or 0, source.ndim)
    count = shapes.shape_of(operator.index(repeats))[0]
    shape = (*source.shape[:at], source.shape[at] * count, *source.shape[at + 1 :])
    return operate("repeat", (source,), shape, x.dtype, saves="nothing", backward_flops=Spec(shape, x.dtype).size)


def tile(x: NullArray, repetitions: Sequence[int], /) -> NullArray:
    """The whole array several times along its axes."""
    counts = shapes.shape_of(repetitions)
    ndim = max(x.ndim, len(counts))
    old, times = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(counts)) + counts
    shape = tuple(n * count for n, count in zip(old, times, strict=True))
    return operate("tile", (x,), shape, x.dtype, saves="nothing", backward_flops=Spec(shape, x.dtype).size)


def roll(x: NullArray, /, shift: Axes, *, axis: Axes | None = None) -> NullArray:
    """Values moved along axes, those that leave coming in at the other end."""
    shapes.rolled(x.ndim, shift, axis)
    return operate("roll", (x,), x.shape, x.dtype, saves="nothing")


def _gather(name: str, x: NullArray, indices: NullArray, shape: tuple[int, ...]) -> NullArray:
    spec = Spec(shape, x.dtype)
    return operate(
        name,
        (x, indices),
        shape,
        x.dtype,
        read=spec.nbytes + indices.nbytes,
        saves=(indices,),
        backward_flops=spec.size,
    )


def take(x: NullArray, indices: NullArray, /, *, axis: int | None = None) -> NullArray:
    """Elements along an axis by their positions; the gradient is as large as x and adds up what was taken twice."""
    return _gather("take", x, indices, shapes.taken(x.shape, indices.shape, indices.dtype, axis)[1])


def take_along_axis(x: NullArray, indices: NullArray, /, *, axis: int = -1) -> NullArray:
    """Elements along an axis by positions that may differ everywhere else."""
    shape = shapes.taken_along(x.shape, indices.shape, indices.dtype, axis)[1]
    return _gather("take_along_axis", x, indices, shape)


def _depends_on_values(name: str) -> NoReturn:
    raise UnsupportedError(
        f"{name} gives a shape that depends on values, but the null backend computes no values",
        fix="use a function whose result has a known shape, such as where or sort",
    )


def nonzero(x: NullArray, /) -> tuple[NullArray, ...]:
    """Not possible without values."""
    _depends_on_values("nonzero")


def unique_all(x: NullArray, /) -> tuple[NullArray, ...]:
    """Not possible without values."""
    _depends_on_values("unique_all")


def unique_counts(x: NullArray, /) -> tuple[NullArray, ...]:
    """Not possible without values."""
    _depends_on_values("unique_counts")


def unique_inverse(x: NullArray, /) -> tuple[NullArray, ...]:
    """Not possible without values."""
    _depends_on_values("unique_inverse")


def unique_values(x: NullArray, /) -> NullArray:
    """Not possible without values."""
    _depends_on_values("unique_values")
