"""Shape arithmetic of the Array API standard; what is wrong raises ShapeError."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.backends._traced.dtypes import DType
from hal.errors import AxisError, ShapeError, SizeError, UnsupportedError

__all__ = [
    "Shape",
    "axes_of",
    "axis_of",
    "broadcast",
    "broadcast_to",
    "concatenated",
    "index",
    "matmul",
    "moved",
    "permuted",
    "reduced",
    "reshaped",
    "rolled",
    "shape_of",
    "squeezed",
    "stacked",
    "taken",
    "taken_along",
    "tensordot",
    "vecdot",
]

Shape = tuple[int, ...]


def shape_of(shape: Any) -> Shape:
    """A shape as a tuple: from one number or a sequence of them, none negative."""
    sizes = tuple(operator.index(n) for n in (shape if isinstance(shape, Sequence) else (shape,)))
    if any(n < 0 for n in sizes):
        raise ShapeError(f"shape={sizes} should have no negative number")
    return sizes


def axis_of(axis: int, ndim: int) -> int:
    """An axis counted from the front."""
    if not -ndim <= axis < ndim:
        raise AxisError(f"axis={axis} does not exist in an array of {ndim} axes; use one of {-ndim} to {ndim - 1}")
    return axis % ndim


def axes_of(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front; None stands for all."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis_of(a, ndim) for a in (axis if isinstance(axis, Sequence) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis={axis} names an axis twice")
    return axes


def broadcast(*shapes: Shape) -> Shape:
    """The shape that shapes broadcast to."""
    ndim = max((len(shape) for shape in shapes), default=0)
    out = [1] * ndim
    for shape in shapes:
        for axis, n in enumerate(shape, start=ndim - len(shape)):
            if n != 1 and out[axis] not in (1, n):
                listed = " and ".join(map(str, shapes))
                raise ShapeError(f"{listed} do not broadcast: axis {axis - ndim} should be equal, or 1 in one of them")
            out[axis] = out[axis] if n == 1 else n
    return tuple(out)


def reduced(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """A shape with axes taken out, or left as 1."""
    if keepdims:
        return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return tuple(n for axis, n in enumerate(shape) if axis not in axes)


def reshaped(shape: Shape, wanted: Sequence[int]) -> Shape:
    """A new shape for as many elements; one size may be -1, which stands for what is left."""
    sizes = [operator.index(n) for n in (wanted if isinstance(wanted, Sequence) else (wanted,))]
    size, known = math.prod(shape), math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known:
        sizes[sizes.index(-1)] = size // known
    if any(n < 0 for n in sizes) or math.prod(sizes) != size:
        raise ShapeError(f"{shape} has {size} elements and cannot be reshaped to {tuple(wanted)}")
    return tuple(sizes)


def matmul(a: Shape, b: Shape) -> tuple[Shape, int]:
    """The shape of a matrix product, and the length of the sums in it."""
    if not a or not b:
        raise ShapeError(f"matmul of {a} and {b}: both need an axis; use multiply for scalars")
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    inner = b[max(len(b) - 2, 0)]
    if a[-1] != inner:
        raise ShapeError(f"matmul of {a} and {b}: the last axis of the first should be {inner}, not {a[-1]}")
    return (*broadcast(a[:-2], b[:-2]), *rows, *columns), inner


def broadcast_to(shape: Shape, wanted: Any) -> Shape:
    """The wanted shape, which another one broadcasts to."""
    sizes = shape_of(wanted)
    if broadcast(shape, sizes) != sizes:
        raise ShapeError(f"{shape} does not broadcast to {sizes}")
    return sizes


def concatenated(shapes: Sequence[Shape], axis: int) -> tuple[int, Shape]:
    """The axis, counted from the front, and the shape of arrays side by side along it."""
    if not shapes:
        raise ShapeError("concat was given no array; pass at least one")
    first = shapes[0]
    at = axis_of(axis, len(first))
    if any((*shape[:at], *shape[at + 1 :]) != (*first[:at], *first[at + 1 :]) for shape in shapes):
        listed = ", ".join(map(str, shapes))
        raise ShapeError(f"concat along axis {axis} of {listed}: all other axes should be equal")
    return at, (*first[:at], sum(shape[at] for shape in shapes), *first[at + 1 :])


def stacked(shapes: Sequence[Shape], axis: int) -> tuple[int, Shape]:
    """The new axis, counted from the front, and the shape of arrays side by side along it."""
    if not shapes:
        raise ShapeError("stack was given no array; pass at least one")
    first = shapes[0]
    if any(shape != first for shape in shapes):
        raise ShapeError(f"stack of {', '.join(map(str, shapes))}: all shapes should be equal")
    at = axis_of(axis, len(first) + 1)
    return at, (*first[:at], len(shapes), *first[at:])


def squeezed(shape: Shape, axis: int | Sequence[int]) -> Shape:
    """A shape without some axes of size 1."""
    axes = axes_of(axis, len(shape))
    if any(shape[a] != 1 for a in axes):
        raise SizeError(f"squeeze of axis {axis} of shape {shape}: its size should be 1")
    return reduced(shape, axes, False)


def permuted(shape: Shape, axes: Sequence[int]) -> tuple[int, ...]:
    """Each axis once, counted from the front, in the order that was asked for."""
    order = axes_of(tuple(axes), len(shape))
    if len(order) != len(shape):
        raise ShapeError(f"axes={tuple(axes)} should name each axis of shape {shape} once")
    return order


def moved(ndim: int, source: int | Sequence[int], destination: int | Sequence[int]) -> tuple[int, ...]:
    """The order of axes of which some were moved."""
    sources, targets = axes_of(source, ndim), axes_of(destination, ndim)
    if len(sources) != len(targets):
        raise ShapeError(f"source={source} and destination={destination} must name the same number of axes")
    order = [axis for axis in range(ndim) if axis not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return tuple(order)


def rolled(ndim: int, shift: int | Sequence[int], axis: int | Sequence[int] | None) -> tuple[int, ...]:
    """The axes along which values are moved."""
    axes = axes_of(axis, ndim)
    if isinstance(shift, Sequence) and (axis is None or len(shift) != len(axes)):
        raise ShapeError(f"shift={shift} and axis={axis} must have the same number of entries")
    return axes


def _check_positions(name: str, dtype: DType) -> None:
    if dtype.kind not in "iu":
        raise ShapeError(f"{name} was given indices of type {dtype}; should be integers")


def taken(shape: Shape, indices: Shape, dtype: DType, axis: int | None) -> tuple[int, Shape]:
    """The axis and the shape of what ``take`` takes by indices of some type."""
    if axis is None and len(shape) != 1:
        raise ShapeError(f"take from shape {shape} needs an axis")
    at = axis_of(axis or 0, len(shape))
    _check_positions("take", dtype)
    return at, (*shape[:at], *indices, *shape[at + 1 :])


def taken_along(shape: Shape, indices: Shape, dtype: DType, axis: int) -> tuple[int, Shape]:
    """The axis and the shape of what ``take_along_axis`` takes by indices of some type."""
    at = axis_of(axis, len(shape))
    if len(shape) != len(indices):
        raise ShapeError(f"x {shape} and indices {indices} must have the same number of axes")
    _check_positions("take_along_axis", dtype)
    outer = broadcast(reduced(shape, (at,), True), reduced(indices, (at,), True))
    return at, (*outer[:at], indices[at], *outer[at + 1 :])


def tensordot(
    a: Shape, b: Shape, axes: int | tuple[Sequence[int], Sequence[int]]
) -> tuple[tuple[int, ...], tuple[int, ...], Shape]:
    """The axes of both that are summed over, and the shape of the result."""
    if isinstance(axes, int):
        if not 0 <= axes <= min(len(a), len(b)):
            raise ShapeError(f"tensordot of {a} and {b} over {axes} axes: the arrays have fewer axes")
        first, second = tuple(range(len(a) - axes, len(a))), tuple(range(axes))
    else:
        first, second = axes_of(tuple(axes[0]), len(a)), axes_of(tuple(axes[1]), len(b))
    if [a[axis] for axis in first] != [b[axis] for axis in second]:
        raise ShapeError(f"tensordot of {a} and {b} over {axes}: the summed axes should be equal")
    return first, second, reduced(a, first, False) + reduced(b, second, False)


def vecdot(a: Shape, b: Shape, axis: int) -> None:
    """Refuse shapes that have no products of vectors along an axis."""
    if not -min(len(a), len(b)) <= axis < 0:
        raise ShapeError(f"axis={axis} of vecdot of {a} and {b} must be negative and exist in both arrays")
    if a[axis] != b[axis]:
        raise ShapeError(f"vecdot of {a} and {b}: axis {axis} should be equal")


def _position(key: Any, n: int, axis: int) -> None:
    if not -n <= operator.index(key) < n:
        raise AxisError(f"index {key} is out of bounds for axis {axis} of {n}")


def _is_array(key: Any) -> bool:
    # NumPy's scalars have a shape too, and index as numbers do.
    return isinstance(getattr(key, "shape", None), tuple) and not isinstance(key, np.generic)


def _expanded(shape: Shape, key: Any) -> list[Any]:
    """One key for each axis and each new axis; an Ellipsis stays where it stands for no axis.

    There it still keeps the indices around it apart, which decides where NumPy puts what they gather.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    ellipses = [i for i, k in enumerate(keys) if k is Ellipsis]
    missing = len(shape) - sum(k is not None and k is not Ellipsis for k in keys)
    if missing < 0 or len(ellipses) > 1:
        raise AxisError(f"index {key!r} has too many parts for an array of shape {shape}")
    at = ellipses[0] if ellipses else len(keys)
    filler = [slice(None)] * missing if missing or not ellipses else [Ellipsis]
    return [*keys[:at], *filler, *keys[at + 1 :]]


def index(shape: Shape, key: Any) -> tuple[Shape, bool]:
    """The shape of ``x[key]``, and whether arrays of integers gather it; if not, it is a view.

    Raises:
        ShapeError: the key does not fit.
        UnsupportedError: a mask, whose result's shape depends on values.
    """
    keys = _expanded(shape, key)
    gathers = any(map(_is_array, keys))
    out: list[int] = []
    gathered: list[Shape] = []
    place: int | None = None
    axis, apart, last = 0, False, -1
    for position, k in enumerate(keys):
        if k is Ellipsis:
            continue
        if k is None:
            out.append(1)
            continue
        if isinstance(k, slice):
            out.append(len(range(*k.indices(shape[axis]))))
        elif isinstance(k, bool) or getattr(getattr(k, "dtype", None), "kind", "i") == "b":
            raise UnsupportedError(
                "indexing by a mask gives a shape that depends on values, which are not known here",
                fix="use where, or take with indices",
            )
        else:
            if _is_array(k):
                if k.dtype.kind not in "iu":
                    raise ShapeError(f"an index of type {k.dtype} should be an integer")
                gathered.append(tuple(k.shape))
            else:
                _position(k, shape[axis], axis)
            if gathers:
                apart = apart or (place is not None and position != last + 1)
                place, last = len(out) if place is None else place, position
        axis += 1
    if gathers:
        at = 0 if apart or place is None else place
        out[at:at] = broadcast(*gathered)
    return tuple(out), gathers
