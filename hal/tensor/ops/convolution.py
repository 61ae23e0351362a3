"""Convolution of images (batch, height, width, channels) and of sequences (batch, time, channels)."""

from __future__ import annotations

from hal.tensor import shapes
from hal.tensor.ops.images import Images, windows
from hal.tensor.shapes import Padding, Padding1d, Pads, Pair, Size
from hal.types import Array

__all__ = ["Convolution"]


class Convolution(Images):
    """Windows that slide over images, times a kernel; hooks get pairs and explicit paddings."""

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
        slices = windows(self._padded(x, pads), (h, w), strides, dilation)
        parts = []
        for group in range(groups):
            patches = xp.concat([s[..., group * c_in : (group + 1) * c_in] for s in slices], axis=-1)
            out = c_out // groups
            matrix = xp.reshape(kernel[..., group * out : (group + 1) * out], (h * w * c_in, out))
            parts.append(xp.matmul(patches, matrix))
        y = parts[0] if groups == 1 else xp.concat(parts, axis=-1)
        return y if bias is None else y + bias

    def conv1d(
        self,
        x: Array,
        kernel: Array,
        bias: Array | None = None,
        *,
        strides: int = 1,
        padding: Padding1d = "same",
        dilation: int = 1,
        groups: int = 1,
    ) -> Array:
        """Cross-correlate sequences with kernels.

        Args:
            x: (batch, time, in).
            kernel: (time, in / groups, out).
            bias: (out,).
            strides: step of the window.
            padding: ``same``, ``valid`` or (before, after).
            dilation: spacing of the kernel's elements.
            groups: channels are split into so many groups, each with its own kernels.

        Returns:
            (batch, time', out).

        Raises:
            ShapeError: shapes do not fit.
            UnsupportedError: the arrays are not of one dtype.
        """
        shapes.check_conv1d("conv1d", x.shape, kernel.shape, None if bias is None else tuple(bias.shape), groups)
        self._check_dtypes("conv1d", x, (("kernel", kernel), ("bias", bias)))
        step, spacing = shapes.positive(strides, "strides"), shapes.positive(dilation, "dilation")
        pads = shapes.pads_of_axis(padding, x.shape[1], kernel.shape[0], step, spacing)
        shapes.conv_output((1, x.shape[1]), (1, kernel.shape[0]), (1, step), ((0, 0), pads), (1, spacing))
        return self._conv1d(x, kernel, bias, step, pads, spacing, groups)

    def _conv1d(
        self, x: Array, kernel: Array, bias: Array | None, stride: int, pads: Pair, dilation: int, groups: int
    ) -> Array:
        """The convolution of images of one row."""
        xp = self.standard
        image, window = xp.expand_dims(x, axis=1), xp.expand_dims(kernel, axis=0)
        y = self._conv2d(image, window, bias, (1, stride), ((0, 0), pads), (1, dilation), groups)
        return xp.squeeze(y, axis=1)

    def conv2d_transpose(
        self,
        x: Array,
        kernel: Array,
        bias: Array | None = None,
        *,
        strides: Size = 1,
        padding: Padding = "same",
        output_padding: Size = 0,
        groups: int = 1,
        dilation: Size = 1,
    ) -> Array:
        """The gradient of a strided convolution with respect to its input, used to enlarge images.

        Args:
            x: (batch, height, width, in).
            kernel: (height, width, in, out / groups).
            bias: (out,).
            strides: factor by which the image grows.
            padding: ``same`` (height * stride), ``valid`` (height * stride + max(reach - stride, 0), where reach is
                (window - 1) * dilation + 1) or ((top, bottom), (left, right)), the padding of the convolution, which
                is cut off here: (height - 1) * stride + reach - top - bottom + output_padding.
            output_padding: rows and columns more at the end, which choose among the sizes that the convolution makes
                into one; only with padding in numbers.
            groups: channels are split into so many groups, each with its own kernels.
            dilation: spacing of the kernel's elements.

        Returns:
            (batch, height', width', out).

        Raises:
            ShapeError: shapes do not fit.
            UnsupportedError: the arrays are not of one dtype.
        """
        given = None if bias is None else tuple(bias.shape)
        shapes.check_conv2d_transpose("conv2d_transpose", x.shape, kernel.shape, given, groups)
        self._check_dtypes("conv2d_transpose", x, (("kernel", kernel), ("bias", bias)))
        step, spacing = shapes.pair(strides, "strides"), shapes.pair(dilation, "dilation")
        more = shapes.pair(output_padding, "output_padding", least=0)
        reach = shapes.reach((kernel.shape[0], kernel.shape[1]), spacing)
        crop, append = shapes.transpose_pads(padding, x.shape[1:3], reach, step, more)
        return self._conv2d_transpose(x, kernel, bias, step, crop, append, spacing, groups)

    def _conv2d_transpose(
        self,
        x: Array,
        kernel: Array,
        bias: Array | None,
        strides: Pair,
        crop: Pads,
        append: Pads,
        dilation: Pair,
        groups: int,
    ) -> Array:
        """Zeros between the pixels, then a convolution with the flipped kernel."""
        xp = self.standard
        n, height, width, channels = x.shape
        (sh, sw), (rows, columns) = strides, shapes.reach((kernel.shape[0], kernel.shape[1]), dilation)
        spread = xp.reshape(x, (n, height, 1, width, 1, channels))
        spread = self._zeros_appended(self._zeros_appended(spread, 2, sh - 1), 4, sw - 1)
        spread = xp.reshape(spread, (n, height * sh, width * sw, channels))
        spread = spread[:, : (height - 1) * sh + 1, : (width - 1) * sw + 1, :]
        full = self._padded(spread, ((rows - 1, rows - 1), (columns - 1, columns - 1)))
        flipped = self._of_convolution(xp.flip(kernel, axis=(0, 1)), groups)
        y = self._conv2d(full, flipped, None, (1, 1), ((0, 0), (0, 0)), dilation, groups)
        (top, bottom), (left, right) = crop
        y = self._padded(y[:, top : y.shape[1] - bottom, left : y.shape[2] - right, :], append)
        return y if bias is None else y + bias

    def _of_convolution(self, kernel: Array, groups: int) -> Array:
        """Kernels (height, width, in, out / groups) as a convolution takes them: (height, width, in / groups, out)."""
        if groups == 1:
            return kernel
        xp = self.standard
        height, width, inner, out = kernel.shape
        split = xp.reshape(kernel, (height, width, groups, inner // groups, out))
        together = xp.permute_dims(split, (0, 1, 3, 2, 4))
        return xp.reshape(together, (height, width, inner // groups, groups * out))
