"""Values at positions that arrays of integers give, and the largest values with their positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hal.errors import ShapeError
from hal.tensor import shapes
from hal.tensor.ops.arrays import Arrays
from hal.types import Array

__all__ = ["Indexing"]


class Indexing(Arrays):
    """What the standard has no function for: it can take values from positions, but not put them there."""

    def scatter(self, x: Array, axis: int, index: Array, source: Array, *, add: bool = False) -> Array:
        """A copy of x in which the values at some positions along an axis are replaced or added to.

        ``y[..., index[..., j, ...], ...] = source[..., j, ...]``, or ``+=`` if ``add``.

        Args:
            x: any shape with at least one axis.
            axis: along which index gives positions.
            index: integers from 0 to below the size of the axis, with as many axes as x, none longer than that of x
                but the given axis. Others are an error where the device checks them, and are left out elsewhere.
            source: the shape of index.
            add: add up; then a position may be given several times, and all of its values are added. Without, which
                of several values such a position gets is not defined, nor whether it gets one of them.

        Returns:
            The shape and dtype of x.

        Raises:
            ShapeError: shapes or axis do not fit.
            UnsupportedError: source is not of the dtype of x, or index not of integers.
        """
        at = shapes.axis_of("scatter", axis, len(x.shape))
        size, given = tuple(x.shape), tuple(index.shape)
        if len(given) != len(size) or any(n > m for k, (n, m) in enumerate(zip(given, size, strict=True)) if k != at):
            raise ShapeError(
                f"scatter was given x of shape {size} and index of shape {given}, but index must have as many axes, "
                f"none longer than that of x but axis {at}"
            )
        if tuple(source.shape) != given:
            raise ShapeError(
                f"scatter was given index of shape {given} and source of shape {tuple(source.shape)}, but these must "
                "be equal"
            )
        self._check_integers("scatter", (("index", index),))
        self._check_dtypes("scatter", x, (("source", source),))
        return self._scatter(x, at, index, source, add)

    def _scatter(self, x: Array, axis: int, index: Array, source: Array, add: bool) -> Array:
        """Compares each given position with every position of the axis; libraries need far less memory."""
        xp = self.standard
        inner, at, values = (xp.moveaxis(array, axis, -1) for array in (x, index, source))
        hit = xp.expand_dims(at, axis=-1) == self.positions(inner.shape[-1], like=index)
        values = xp.broadcast_to(xp.expand_dims(values, axis=-1), tuple(hit.shape))
        put = self.cast(xp.sum(xp.where(hit, values, xp.zeros_like(values)), axis=-2), x.dtype)
        changed = inner[tuple(slice(0, n) for n in at.shape[:-1])]
        y = changed + put if add else xp.where(xp.any(hit, axis=-2), put, changed)
        for k in reversed(range(len(at.shape) - 1)):  # what index does not reach
            if at.shape[k] < inner.shape[k]:
                rest = inner[(*(slice(0, n) for n in at.shape[:k]), slice(at.shape[k], None))]
                y = xp.concat([y, rest], axis=k)
        return xp.moveaxis(y, -1, axis)

    def index_put(self, x: Array, indices: Sequence[Array | None], values: Array, *, add: bool = False) -> Array:
        """A copy of x in which the values at some positions are replaced or added to: ``y[indices] = values``.

        Args:
            x: any shape.
            indices: for each of the leading axes integers, or None for the whole axis; at least one is of integers.
                They broadcast together; negative ones count from the end. Others outside of an axis are an error where
                the device checks them, and are left out elsewhere.
            values: broadcasts to the shape of ``x[indices]``, which is NumPy's: the axes that the integers gave stand
                where the integers stood if these stood side by side, and in front otherwise.
            add: as for :meth:`scatter`, repeated positions included.

        Returns:
            The shape and dtype of x.

        Raises:
            ShapeError: the shapes do not fit each other.
            UnsupportedError: values are not of the dtype of x, or indices not of integers.
        """
        given = tuple(indices)
        arrays = [("indices", index) for index in given if index is not None]
        if not arrays or len(given) > len(x.shape):
            raise ShapeError(
                f"index_put was given {len(given)} indices, {len(arrays)} of them arrays, for x of shape "
                f"{tuple(x.shape)}, but it needs at least one array and at most one index for each axis"
            )
        self._check_integers("index_put", arrays)
        self._check_dtypes("index_put", x, (("values", values),))
        shape, _ = shapes.indexed(tuple(x.shape), [None if i is None else tuple(i.shape) for i in given])
        if not shapes.broadcasts(tuple(values.shape), shape):
            raise ShapeError(
                f"index_put was given values of shape {tuple(values.shape)}, but they must broadcast to {shape}"
            )
        return self._index_put(x, given, values, add)

    def _index_put(self, x: Array, indices: tuple[Array | None, ...], values: Array, add: bool) -> Array:
        """A scatter in x as one row."""
        xp, size = self.standard, tuple(x.shape)
        shape, places = shapes.indexed(size, [None if i is None else tuple(i.shape) for i in indices])
        integer = self.positions(1, like=x).dtype
        flat, inside = self.cast(self.zeros_as(shape, like=x), integer), None
        for axis, n in enumerate(size):
            given = indices[axis] if axis < len(indices) else None
            if given is None:
                given = self.positions(n, like=x)
            else:
                given = self.cast(given, integer)
                given = xp.where(given < 0, given + n, given)
                fits = xp.reshape(xp.logical_and(given >= 0, given < n), places[axis])
                inside = fits if inside is None else xp.logical_and(inside, fits)
            flat = flat + xp.reshape(given, places[axis]) * math.prod(size[axis + 1 :])
        flat = xp.where(inside, flat, self.filled(shape, -1, like=flat))
        source = xp.reshape(xp.broadcast_to(values, shape), (-1,))
        return xp.reshape(self._scatter(xp.reshape(x, (-1,)), 0, xp.reshape(flat, (-1,)), source, add), size)

    def topk(self, x: Array, k: int, *, axis: int = -1) -> tuple[Array, Array]:
        """The largest values along an axis, the largest first, and their positions; of equal ones, the first ones.

        Args:
            x: at least one axis, without NaN.
            k: how many, at least 1 and at most the size of the axis.
            axis: along which.

        Returns:
            Values and positions, each the shape of x with k in place of the axis; the positions are integers.

        Raises:
            ShapeError: the axis does not exist or has fewer values.
        """
        at = shapes.axis_of("topk", axis, len(x.shape))
        if not 1 <= k <= x.shape[at]:
            raise ShapeError(
                f"topk was given k={k} for axis {at} of shape {tuple(x.shape)}, but k must be from 1 to {x.shape[at]}"
            )
        return self._topk(x, k, at)

    def _topk(self, x: Array, k: int, axis: int) -> tuple[Array, Array]:
        """Sorts back to front and upwards, so that of equal values the first one comes last."""
        xp, last = self.standard, x.shape[axis] - 1
        ends = (slice(None),) * axis + (slice(0, k),)
        backwards = xp.argsort(xp.flip(x, axis=axis), axis=axis, stable=True)
        positions = last - xp.flip(backwards, axis=axis)[ends]
        return xp.take_along_axis(x, positions, axis=axis), positions
