"""Convolution and pooling on PyTorch, which wants channels in front: permuted views, which cost nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from hal.backends._torch.algorithms import max_pool2d
from hal.tensor import Ops
from hal.tensor.shapes import Pads, Pair

__all__ = ["ImageOps"]

Tensor = torch.Tensor


class ImageOps(Ops):
    """Ops on images (batch, height, width, channels), in whatever order their storage is."""

    def _conv2d(
        self, x: Tensor, kernel: Tensor, bias: Tensor | None, strides: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Tensor:
        image, padding = _symmetric(x.permute(0, 3, 1, 2), pads, 0.0)
        weight = kernel.permute(3, 2, 0, 1)
        if kernel.dtype == torch.float64:  # no library has it: PyTorch's own kernel wants its gradient contiguous
            weight = weight.contiguous()
        y = F.conv2d(image, weight, bias, strides, padding, dilation, groups)
        return y.permute(0, 2, 3, 1)

    def _conv2d_transpose(
        self,
        x: Tensor,
        kernel: Tensor,
        bias: Tensor | None,
        strides: Pair,
        crop: Pads,
        append: Pads,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        # PyTorch crops at least as much in front as at the end: leave that to it and slice off the rest.
        (top, bottom), (left, right) = crop
        padding = (min(top, bottom + _more(0, strides, dilation)), min(left, right + _more(1, strides, dilation)))
        less = (max(padding[0] - bottom, 0), max(padding[1] - right, 0))
        image, weight = x.permute(0, 3, 1, 2), kernel.permute(2, 3, 0, 1)
        y = F.conv_transpose2d(image, weight, None, strides, padding, less, groups, dilation)
        rows, columns = (max(after - before, 0) for before, after in zip(padding, (bottom, right), strict=True))
        y = y[:, :, top - padding[0] : y.shape[2] - rows, left - padding[1] : y.shape[3] - columns]
        if append != ((0, 0), (0, 0)):
            y = F.pad(y, (*append[1], *append[0]))
        y = y.permute(0, 2, 3, 1)
        return y if bias is None else y + bias

    def _max_pool2d(self, x: Tensor, window: Pair, strides: Pair, pads: Pads, dilation: Pair) -> Tensor:
        image, padding = _symmetric(x.permute(0, 3, 1, 2), pads, -float("inf"), window)
        return max_pool2d(image, window, strides, padding, dilation).permute(0, 2, 3, 1)

    def _avg_pool2d(self, x: Tensor, window: Pair, strides: Pair, pads: Pads, count_padding: bool) -> Tensor:
        if not _native(pads, window):
            general: Tensor = super()._avg_pool2d(x, window, strides, pads, count_padding)
            return general
        padding = (pads[0][0], pads[1][0])
        y = F.avg_pool2d(x.permute(0, 3, 1, 2), window, strides, padding, count_include_pad=count_padding)
        return y.permute(0, 2, 3, 1)


def _native(pads: Pads, window: Pair) -> bool:
    """Whether PyTorch's pooling takes this padding itself: alike on both sides, at most half a window."""
    (top, bottom), (left, right) = pads
    return top == bottom and left == right and 2 * top <= window[0] and 2 * left <= window[1]


def _symmetric(image: Tensor, pads: Pads, value: float, window: Pair | None = None) -> tuple[Tensor, Pair]:
    """An image and the padding that a kernel may do itself; what it cannot do is done here."""
    (top, bottom), (left, right) = pads
    if _native(pads, window) if window else top == bottom and left == right:
        return image, (top, left)
    return F.pad(image, (left, right, top, bottom), value=value), (0, 0)


def _more(axis: int, strides: Pair, dilation: Pair) -> int:
    """How many more rows or columns PyTorch crops in front than at the end, at the most."""
    return max(strides[axis], dilation[axis]) - 1
