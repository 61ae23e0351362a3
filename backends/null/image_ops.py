"""Convolution and pooling with shapes only."""

from __future__ import annotations

import math

from hal.backends.null.array import NullArray, operate
from hal.backends.null.products import affine
from hal.tensor import Ops, shapes
from hal.tensor.shapes import Pads, Pair

__all__ = ["ImageOps"]


class ImageOps(Ops):
    """Windows that slide over images; padding counts as data."""

    def _conv2d(
        self,
        x: NullArray,
        kernel: NullArray,
        bias: NullArray | None,
        strides: Pair,
        pads: Pads,
        dilation: Pair,
        groups: int,
    ) -> NullArray:
        """2 * (elements of the result) * kernel height * kernel width * in / groups."""
        height, width, inner, out = kernel.shape
        rows, columns = shapes.conv_output(x.shape[1:3], (height, width), strides, pads, dilation)
        shape = (x.shape[0], rows, columns, out)
        return affine("conv2d", x, kernel, bias, shape, flops=2 * math.prod(shape) * height * width * inner)

    def _conv2d_transpose(
        self,
        x: NullArray,
        kernel: NullArray,
        bias: NullArray | None,
        strides: Pair,
        crop: Pads,
        append: Pads,
        dilation: Pair,
        groups: int,
    ) -> NullArray:
        """2 * (elements of x) * kernel height * kernel width * out / groups."""
        reach = shapes.reach((kernel.shape[0], kernel.shape[1]), dilation)
        rows, columns = (
            (n - 1) * s + r - sum(less) + sum(more)
            for n, s, r, less, more in zip(x.shape[1:3], strides, reach, crop, append, strict=True)
        )
        shape = (x.shape[0], rows, columns, groups * kernel.shape[3])
        flops = 2 * x.size * math.prod(kernel.shape[:2]) * kernel.shape[3]
        return affine("conv2d_transpose", x, kernel, bias, shape, flops=flops)

    def _max_pool2d(self, x: NullArray, window: Pair, strides: Pair, pads: Pads, dilation: Pair) -> NullArray:
        """Window height * width for each element of the result; x and the result are kept."""
        return _pooled("max_pool2d", x, window, strides, pads, dilation)

    def _avg_pool2d(self, x: NullArray, window: Pair, strides: Pair, pads: Pads, count_padding: bool) -> NullArray:
        """Window height * width for each element of the result; nothing is kept."""
        return _pooled("avg_pool2d", x, window, strides, pads, (1, 1))


def _pooled(name: str, x: NullArray, window: Pair, strides: Pair, pads: Pads, dilation: Pair) -> NullArray:
    rows, columns = shapes.conv_output(x.shape[1:3], window, strides, pads, dilation)
    shape = (x.shape[0], rows, columns, x.shape[3])
    flops = math.prod(shape) * math.prod(window)
    return operate(name, (x,), shape, x.dtype, flops=flops, saves="both" if name == "max_pool2d" else "nothing")
