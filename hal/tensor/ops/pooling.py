"""Pooling of images (batch, height, width, channels)."""

from __future__ import annotations

from hal.errors import ShapeError
from hal.tensor import shapes
from hal.tensor.ops.images import Images, windows
from hal.tensor.shapes import Padding, Pads, Pair, Size
from hal.types import Array

__all__ = ["Pooling"]


class Pooling(Images):
    """One number for each window that slides over images; hooks get pairs and explicit paddings."""

    def max_pool2d(
        self,
        x: Array,
        window: Size = 2,
        *,
        strides: Size | None = None,
        padding: Padding = "valid",
        dilation: Size = 1,
    ) -> Array:
        """The largest value of each window; padding never wins, NaN always does.

        Of several that are equal, the first one, row by row, gets the gradient.

        Args:
            x: (batch, height, width, channels).
            window: one number or (height, width).
            strides: step of the window; None: the window itself.
            padding: ``same``, ``valid`` or ((top, bottom), (left, right)).
            dilation: spacing of the window's values.

        Returns:
            (batch, height', width', channels).

        Raises:
            ShapeError: the window does not fit the image, or padding leaves a window without a value.
        """
        spacing = shapes.pair(dilation, "dilation")
        return self._max_pool2d(x, *_pooling("max_pool2d", x, window, strides, padding, spacing), spacing)

    def _max_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads, dilation: Pair) -> Array:
        """The maximum over shifted slices."""
        padded = self._padded(x, pads, value=-float("inf"))
        return self.standard.max(self.standard.stack(windows(padded, window, strides, dilation), axis=0), axis=0)

    def avg_pool2d(
        self,
        x: Array,
        window: Size = 2,
        *,
        strides: Size | None = None,
        padding: Padding = "valid",
        count_padding: bool = False,
    ) -> Array:
        """The mean of each window, over the values inside the image unless ``count_padding``.

        Args:
            x: (batch, height, width, channels).
            window: one number or (height, width).
            strides: step of the window; None: the window itself.
            padding: ``same``, ``valid`` or ((top, bottom), (left, right)).
            count_padding: take the mean over the whole window, in which padding counts as zeros.

        Returns:
            (batch, height', width', channels).

        Raises:
            ShapeError: the window does not fit the image, or padding leaves a window without a value.
        """
        return self._avg_pool2d(x, *_pooling("avg_pool2d", x, window, strides, padding, (1, 1)), count_padding)

    def _avg_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads, count_padding: bool) -> Array:
        """The sum over shifted slices, over the count of values inside the image or of all."""
        xp = self.standard
        total = xp.sum(xp.stack(windows(self._padded(x, pads), window, strides), axis=0), axis=0)
        if count_padding:
            return total / (window[0] * window[1])
        ones = self._padded(self.filled((1, x.shape[1], x.shape[2], 1), 1.0, like=x), pads)
        count = xp.sum(xp.stack(windows(ones, window, strides), axis=0), axis=0)
        return total / count


def _pooling(
    op: str, x: Array, window: Size, strides: Size | None, padding: Padding, dilation: Pair
) -> tuple[Pair, Pair, Pads]:
    """Window, strides and paddings of a pooling, after a check that they fit the image."""
    shapes.check_images(op, x.shape)
    size = shapes.pair(window, "window")
    step = size if strides is None else shapes.pair(strides, "strides")
    pads = shapes.pads_of(padding, x.shape[1:3], size, step, dilation)
    shapes.conv_output(x.shape[1:3], size, step, pads, dilation)
    for axis in (0, 1):
        if not _each_holds_a_value(x.shape[1 + axis], size[axis], step[axis], pads[axis], dilation[axis]):
            each = "smaller than the window" if dilation == (1, 1) else "so small that each window reaches the image"
            raise ShapeError(
                f"{op} was given padding {pads}, which leaves windows of {size} without a value; each padding must be "
                f"{each}"
            )
    return size, step, pads


def _each_holds_a_value(size: int, window: int, stride: int, pads: Pair, dilation: int) -> bool:
    """Whether every window along an axis has a value inside the image."""
    if dilation == 1:
        return max(pads) < window
    starts = range(-pads[0], size + pads[1] - (window - 1) * dilation, stride)
    return all(any(0 <= start + step * dilation < size for step in range(window)) for start in starts)
