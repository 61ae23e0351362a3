"""The algorithms that plans choose from, and which of them is at work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from hal.contract.plan import Plan
from hal.tensor.shapes import Pair

__all__ = ["max_pool2d", "under"]

Tensor = torch.Tensor


class _AtWork:
    """Values of the plan's keys. An attribute, since Dynamo recompiles what was traced under another value of one."""

    pool: str = "window"


_at_work = _AtWork()


@contextlib.contextmanager
def under(plan: Plan) -> Iterator[None]:
    """Compute with a plan's algorithms within; may be nested."""
    before, _at_work.pool = _at_work.pool, plan.pool
    try:
        yield
    finally:
        _at_work.pool = before


def max_pool2d(image: Tensor, window: Pair, strides: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Max-pooling by the algorithm at work.

    Args:
        image: (batch, channels, height, width).
        window: height and width.
        strides: the same.
        padding: rows above and below, columns left and right; at most half a window.
        dilation: spacing of the window's values; oneDNN takes 1 alone.
    """
    if _at_work.pool == "blocked" and dilation == (1, 1) and _suits_onednn(image):
        return _blocked(image, window, strides, padding)
    return torch.max_pool2d(image, window, strides, padding, dilation)


def _suits_onednn(image: Tensor) -> bool:
    """Whether oneDNN computes the same as PyTorch, which keeps NaN and infinities; a sum finds out about those."""
    bf16: Any = torch.ops.mkldnn._is_mkldnn_bf16_supported
    known = image.dtype == torch.float32 or (image.dtype == torch.bfloat16 and bf16())
    return known and image.device.type == "cpu" and image.numel() > 0 and bool(torch.isfinite(image.detach().sum()))


def _blocked(image: Tensor, window: Pair, strides: Pair, padding: Pair) -> Tensor:
    """By oneDNN, which copies the image to an order in memory of its own and the result back."""
    onednn: Any = torch
    pooled: Tensor = onednn.mkldnn_max_pool2d(image.to_mkldnn(), window, strides, padding)
    return pooled.to_dense()
