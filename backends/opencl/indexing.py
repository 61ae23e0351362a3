"""Indexing of arrays: slices are movements, arrays of integers gather, masks need values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.backends._traced import dtypes, shapes
from hal.backends.opencl import primitives
from hal.backends.opencl.array import OpenclArray
from hal.errors import AxisError

__all__ = ["flat_positions", "indexed", "wrapped"]

Array = OpenclArray


def indexed(x: Array, key: Any) -> Array:
    """``x[key]`` as NumPy does it.

    Raises:
        ShapeError: the key does not fit.
        UnsupportedError: a mask while a function is compiled.
    """
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, bool) or _kind(k) == "b" for k in keys):
        return _masked(x, keys)
    shape, gathers = shapes.index(x.shape, key)
    if not gathers:
        return primitives.reshape(_sliced(x, _full(x, keys)), shape)
    return _gathered(x, keys, shape)


def _kind(key: Any) -> str:
    return str(getattr(getattr(key, "dtype", None), "kind", ""))


def _full(x: Array, keys: Sequence[Any]) -> list[Any]:
    """One key for each axis, without new axes."""
    given = [k for k in keys if k is not None and k is not Ellipsis]
    filler = [slice(None)] * (x.ndim - len(given))
    at = next((i for i, k in enumerate(k for k in keys if k is not None) if k is Ellipsis), len(given))
    return [*given[:at], *filler, *given[at:]]


def _sliced(x: Array, keys: Sequence[Any]) -> Array:
    """Slices and single positions; every axis stays."""
    starts, steps, sizes = [], [], []
    for n, key in zip(x.shape, keys, strict=True):
        if isinstance(key, slice):
            start, stop, step = key.indices(n)
            count = len(range(start, stop, step))
            if count == 0:
                start = 0
        else:
            start, step, count = int(key) % n, 1, 1
        starts.append(start)
        steps.append(step if count > 1 else 1)
        sizes.append(count)
    return primitives.cut(x, starts, steps, sizes)


def _gathered(x: Array, keys: Sequence[Any], shape: tuple[int, ...]) -> Array:
    """Arrays of integers take rows of the axes that they index, which are made one and moved to the front."""
    full = _full(x, keys)
    taken = [axis for axis, k in enumerate(full) if not isinstance(k, slice)]
    sliced = _sliced(x, [k if isinstance(k, slice) else slice(None) for k in full])
    kept = [axis for axis in range(x.ndim) if axis not in taken]
    sizes = [x.shape[axis] for axis in taken]
    moved = primitives.permute(sliced, (*taken, *kept))
    rest = [sliced.shape[axis] for axis in kept]
    rows = primitives.reshape(moved, (math.prod(sizes), *rest))
    positions = [_positions(x, full[axis], n) for axis, n in zip(taken, sizes, strict=True)]
    common = shapes.broadcast(*(p.shape for p in positions))
    found = primitives.gather(rows, flat_positions([primitives.broadcast(p, common) for p in positions], sizes))
    # Where the gathered axes go: to their place if they stand side by side, else to the front; new axes come last.
    place = _place(keys, x.ndim)
    before = sum(axis < taken[0] for axis in kept) if place else 0
    order = [len(common) + i for i in range(before)] + list(range(len(common)))
    order += [len(common) + i for i in range(before, len(kept))]
    return primitives.reshape(primitives.permute(found, order), shape)


def _place(keys: Sequence[Any], ndim: int) -> bool:
    """Whether everything that gathers stands side by side."""
    spots = [i for i, k in enumerate(keys) if k is not None and not isinstance(k, slice) and k is not Ellipsis]
    return spots == list(range(spots[0], spots[-1] + 1))


def _positions(x: Array, key: Any, size: int) -> Array:
    if isinstance(key, Array):
        return wrapped(key, size)
    host = np.asarray(key, np.int64)
    return primitives.from_numpy(x.runtime, np.where(host < 0, host + size, host))


def wrapped(positions: Array, size: int) -> Array:
    """Positions of which negative ones count from the end."""
    if positions.dtype.kind == "u":
        return positions
    return primitives.elementwise("where", positions < 0, positions + size, positions)


def flat_positions(positions: Sequence[Array], sizes: Sequence[int]) -> Array:
    """Positions in an array whose axes are made one; a position outside of its axis stays outside."""
    total: Array | None = None
    outside: Array | None = None
    for array, n, stride in zip(positions, sizes, [math.prod(sizes[i + 1 :]) for i in range(len(sizes))], strict=True):
        wide = primitives.cast(array, dtypes.int64)
        if len(sizes) > 1:
            beyond = primitives.elementwise("logical_or", wide < 0, wide >= n)
            outside = beyond if outside is None else primitives.elementwise("logical_or", outside, beyond)
        total = wide * stride if total is None else total + wide * stride
    assert total is not None
    return total if outside is None else primitives.elementwise("where", outside, -1, total)


def _masked(x: Array, keys: Sequence[Any]) -> Array:
    """Masks become the positions of what is true, which the host counts."""
    replaced: list[Any] = []
    axes = [_axes_of(key) for key in keys]
    axis, skipped = 0, x.ndim - sum(axes)
    for key, count in zip(keys, axes, strict=True):
        if isinstance(key, bool) or _kind(key) == "b":
            mask = np.asarray(key.__array__() if isinstance(key, Array) else key)
            if mask.ndim == 0:
                replaced.append(None)
                replaced.append(np.nonzero(mask.reshape(1))[0])
                continue
            if mask.shape != x.shape[axis : axis + count] and mask.size:
                raise AxisError(
                    f"a mask of shape {mask.shape} does not fit axis {axis} and those that follow of shape {x.shape}"
                )
            replaced.extend(np.nonzero(mask))
        else:
            replaced.append(key)
        axis += skipped if key is Ellipsis else count
    if any(k is None for k in replaced):
        return _with_scalar_mask(x, keys)
    placed = [primitives.from_numpy(x.runtime, k) if isinstance(k, np.ndarray) else k for k in replaced]
    return indexed(x, tuple(placed))


def _axes_of(key: Any) -> int:
    """How many axes of an array a part of an index is for."""
    if key is None or key is Ellipsis or isinstance(key, bool):
        return 0
    return len(key.shape) if _kind(key) == "b" else 1


def _with_scalar_mask(x: Array, keys: Sequence[Any]) -> Array:
    """A single boolean as index adds an axis of size 1 or 0; the host does it."""
    host = [k.__array__() if isinstance(k, Array) else k for k in keys]
    return primitives.from_numpy(x.runtime, x.__array__()[tuple(host)])
