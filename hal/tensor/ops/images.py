"""Convolution, pooling and movement of images (batch, height, width, channels)."""

from __future__ import annotations

from hal.errors import ShapeError
from hal.tensor import shapes
from hal.tensor.ops.arrays import Arrays
from hal.tensor.shapes import Padding, Pads, Pair, Size
from hal.types import Array

__all__ = ["Images"]


class Images(Arrays):
    """Windows that slide over images; hooks get pairs and explicit paddings."""

    def conv2d(
        self,
        x: Array,
        kernel: Array,
        bias: Array | None = None,
        *,
        strides: Size = 1,
        padding: Padding = "same",
        dilation: Size = 1,
        groups: int = 1,
    ) -> Array:
        """Cross-correlate images with kernels.

        Args:
            x: (batch, height, width, in).
            kernel: (height, width, in / groups, out).
            bias: (out,).
            strides: step of the window, one number or (height, width).
            padding: ``same``, ``valid`` or ((top, bottom), (left, right)).
            dilation: spacing of the kernel's elements.
            groups: channels are split into so many groups, each with its own kernels.

        Returns:
            (batch, height', width', out).

        Raises:
            ShapeError: shapes do not fit.
            UnsupportedError: the arrays are not of one dtype.
        """
        shapes.check_conv2d("conv2d", x.shape, kernel.shape, None if bias is None else tuple(bias.shape), groups)
        self._check_dtypes("conv2d", x, (("kernel", kernel), ("bias", bias)))
        step, spacing = shapes.pair(strides, "strides"), shapes.pair(dilation, "dilation")
        window = (kernel.shape[0], kernel.shape[1])
        pads = shapes.pads_of(padding, x.shape[1:3], window, step, spacing)
        shapes.conv_output(x.shape[1:3], window, step, pads, spacing)
        return self._conv2d(x, kernel, bias, step, pads, spacing, groups)

    def _conv2d(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Array:
        """Shifted slices side by side, times the kernel as one matrix for each group."""
        xp = self.standard
        h, w, c_in, c_out = kernel.shape
        slices = _windows(self._padded(x, pads), (h, w), strides, dilation)
        parts = []
        for group in range(groups):
            patches = xp.concat([s[..., group * c_in : (group + 1) * c_in] for s in slices], axis=-1)
            out = c_out // groups
            matrix = xp.reshape(kernel[..., group * out : (group + 1) * out], (h * w * c_in, out))
            parts.append(xp.matmul(patches, matrix))
        y = parts[0] if groups == 1 else xp.concat(parts, axis=-1)
        return y if bias is None else y + bias

    def conv2d_transpose(
        self, x: Array, kernel: Array, bias: Array | None = None, *, strides: Size = 1, padding: Padding = "same"
    ) -> Array:
        """The gradient of a strided convolution with respect to its input, used to enlarge images.

        Args:
            x: (batch, height, width, in).
            kernel: (height, width, in, out).
            bias: (out,).
            strides: factor by which the image grows.
            padding: ``same`` (height * stride) or ``valid`` (height * stride + max(window - stride, 0)).

        Returns:
            (batch, height', width', out).

        Raises:
            ShapeError: shapes do not fit.
            UnsupportedError: the arrays are not of one dtype.
        """
        shapes.check_conv2d("conv2d_transpose", x.shape, kernel.shape, None if bias is None else tuple(bias.shape), 1)
        self._check_dtypes("conv2d_transpose", x, (("kernel", kernel), ("bias", bias)))
        step = shapes.pair(strides, "strides")
        crop, append = shapes.transpose_pads(padding, (kernel.shape[0], kernel.shape[1]), step)
        return self._conv2d_transpose(x, kernel, bias, step, crop, append)

    def _conv2d_transpose(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, crop: Pads, append: Pads
    ) -> Array:
        """Zeros between the pixels, then a convolution with the flipped kernel."""
        xp = self.standard
        n, height, width, channels = x.shape
        (sh, sw), (kh, kw) = strides, kernel.shape[:2]
        spread = xp.reshape(x, (n, height, 1, width, 1, channels))
        spread = self._zeros_appended(self._zeros_appended(spread, 2, sh - 1), 4, sw - 1)
        spread = xp.reshape(spread, (n, height * sh, width * sw, channels))
        spread = spread[:, : (height - 1) * sh + 1, : (width - 1) * sw + 1, :]
        full = self._padded(spread, ((kh - 1, kh - 1), (kw - 1, kw - 1)))
        y = self._conv2d(full, xp.flip(kernel, axis=(0, 1)), None, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
        (top, bottom), (left, right) = crop
        y = self._padded(y[:, top : y.shape[1] - bottom, left : y.shape[2] - right, :], append)
        return y if bias is None else y + bias

    def max_pool2d(
        self, x: Array, window: Size = 2, *, strides: Size | None = None, padding: Padding = "valid"
    ) -> Array:
        """The largest value of each window; padding never wins, NaN always does.

        Of several that are equal, the first one, row by row, gets the gradient.

        Args:
            x: (batch, height, width, channels).
            window: one number or (height, width).
            strides: step of the window; None: the window itself.
            padding: ``same``, ``valid`` or ((top, bottom), (left, right)).

        Returns:
            (batch, height', width', channels).

        Raises:
            ShapeError: the window does not fit the image, or padding leaves a window without a value.
        """
        return self._max_pool2d(x, *_pooling("max_pool2d", x, window, strides, padding))

    def _max_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
        """The maximum over shifted slices."""
        padded = self._padded(x, pads, value=-float("inf"))
        return self.standard.max(self.standard.stack(_windows(padded, window, strides), axis=0), axis=0)

    def avg_pool2d(
        self, x: Array, window: Size = 2, *, strides: Size | None = None, padding: Padding = "valid"
    ) -> Array:
        """The mean of each window, over the values inside the image.

        Args:
            x: (batch, height, width, channels).
            window: one number or (height, width).
            strides: step of the window; None: the window itself.
            padding: ``same``, ``valid`` or ((top, bottom), (left, right)).

        Returns:
            (batch, height', width', channels).

        Raises:
            ShapeError: the window does not fit the image, or padding leaves a window without a value.
        """
        return self._avg_pool2d(x, *_pooling("avg_pool2d", x, window, strides, padding))

    def _avg_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
        """The sum over shifted slices, over the count of values inside the image."""
        xp = self.standard
        total = xp.sum(xp.stack(_windows(self._padded(x, pads), window, strides), axis=0), axis=0)
        ones = self._padded(self.filled((1, x.shape[1], x.shape[2], 1), 1.0, like=x), pads)
        count = xp.sum(xp.stack(_windows(ones, window, strides), axis=0), axis=0)
        return total / count

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


def _pooling(op: str, x: Array, window: Size, strides: Size | None, padding: Padding) -> tuple[Pair, Pair, Pads]:
    """Window, strides and paddings of a pooling, after a check that they fit the image."""
    shapes.check_images(op, x.shape)
    size = shapes.pair(window, "window")
    step = size if strides is None else shapes.pair(strides, "strides")
    pads = shapes.pads_of(padding, x.shape[1:3], size, step, (1, 1))
    if max(pads[0]) >= size[0] or max(pads[1]) >= size[1]:
        raise ShapeError(
            f"{op} was given padding {pads}, which leaves windows of {size} without a value; each padding must be "
            "smaller than the window"
        )
    shapes.conv_output(x.shape[1:3], size, step, pads, (1, 1))
    return size, step, pads


def _windows(x: Array, window: Pair, strides: Pair, dilation: Pair = (1, 1)) -> list[Array]:
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
