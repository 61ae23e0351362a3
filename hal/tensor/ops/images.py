"""Movement of images (batch, height, width, channels), and what convolution and pooling share."""

from __future__ import annotations

from hal.errors import ShapeError
from hal.tensor import shapes
from hal.tensor.ops.arrays import Arrays
from hal.tensor.shapes import Pads, Pair
from hal.types import Array

__all__ = ["Images", "windows"]


class Images(Arrays):
    """Moved, and padded by rows and columns of one value."""

    def translate2d(self, x: Array, rows: Array, columns: Array) -> Array:
        """Move each image by whole pixels; what comes in is zero.

        Args:
            x: (batch, height, width, channels), finite.
            rows: by how many pixels each image moves down, integers (batch,); negative: up.
            columns: by how many it moves to the right, integers (batch,).

        Returns:
            Images like x: ``y[n, i, j, c] = x[n, i - rows[n], j - columns[n], c]``.

        Raises:
            ShapeError: x is not a batch of images, or rows or columns is not one number for each.
        """
        shapes.check_images("translate2d", x.shape)
        for name, moves in (("rows", rows), ("columns", columns)):
            if tuple(moves.shape) != (x.shape[0],):
                raise ShapeError(
                    f"translate2d was given {name} of shape {tuple(moves.shape)}, but {name} must be ({x.shape[0]},), "
                    "one number for each image"
                )
        return self._translate2d(x, rows, columns)

    def _translate2d(self, x: Array, rows: Array, columns: Array) -> Array:
        """One gather of whole pixels: on a CPU several times faster than one along each axis."""
        xp = self.standard
        batch, height, width, channels = x.shape
        row, row_inside = self._origin(x, rows, height)
        column, column_inside = self._origin(x, columns, width)
        first = xp.reshape(self.positions(batch, like=x) * (height * width), (batch, 1, 1))
        pixel = first + xp.expand_dims(row, axis=2) * width + xp.expand_dims(column, axis=1)
        moved = xp.reshape(xp.take(xp.reshape(x, (-1, channels)), xp.reshape(pixel, (-1,)), axis=0), tuple(x.shape))
        inside = xp.logical_and(xp.expand_dims(row_inside, axis=2), xp.expand_dims(column_inside, axis=1))
        return xp.where(xp.expand_dims(inside, axis=3), moved, self.zeros_as(x.shape, like=x))

    def _origin(self, x: Array, moves: Array, size: int) -> tuple[Array, Array]:
        """Where each pixel along an axis comes from, integers (batch, size), and whether that is inside the image."""
        origin = self.positions(size, like=x) - self.standard.expand_dims(moves, axis=1)
        kept = self.standard.clip(origin, 0, size - 1)
        return kept, origin == kept

    def _padded(self, x: Array, pads: Pads, value: float = 0.0) -> Array:
        """Rows and columns of one value appended to (batch, height, width, channels)."""
        for axis, (before, after) in zip((1, 2), pads, strict=True):
            parts = [x]
            for count, at in ((before, 0), (after, None)):
                if count:
                    edge = (*x.shape[:axis], count, *x.shape[axis + 1 :])
                    filler = self.filled(edge, value, like=x)
                    parts = [filler, *parts] if at == 0 else [*parts, filler]
            x = self.standard.concat(parts, axis=axis) if len(parts) > 1 else x
        return x

    def _zeros_appended(self, x: Array, axis: int, count: int) -> Array:
        if count == 0:
            return x
        edge = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        return self.standard.concat([x, self.zeros_as(edge, like=x)], axis=axis)


def windows(x: Array, window: Pair, strides: Pair, dilation: Pair = (1, 1)) -> list[Array]:
    """One strided slice of a padded image for each element of the window, row by row."""
    height, width = shapes.conv_output(x.shape[1:3], window, strides, ((0, 0), (0, 0)), dilation)
    slices = []
    for row in range(window[0]):
        for column in range(window[1]):
            top, left = row * dilation[0], column * dilation[1]
            slices.append(
                x[
                    :,
                    top : top + (height - 1) * strides[0] + 1 : strides[0],
                    left : left + (width - 1) * strides[1] + 1 : strides[1],
                    :,
                ]
            )
    return slices
