"""What PyTorch computes wrongly on accelerators, put right while a plan is applied."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["corrected"]


@contextlib.contextmanager
def corrected() -> Iterator[None]:
    """Compute rightly within; may be nested.

    The gradient of average pooling is wrong where images have channels last and the pooling pads them, in releases
    before the pull request 188345 of PyTorch (June 2026). The function is replaced in ``torch.nn.functional``, where
    modules look it up, so that those of a user's own are right too; a name that they imported from there is not.
    """
    before: Any = F.avg_pool2d
    F.avg_pool2d = before if hasattr(before, "corrects") else _avg_pool2d(before)
    try:
        yield
    finally:
        F.avg_pool2d = before


def _avg_pool2d(plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The function that first copies images to be padded to channels first, for which the gradient is right."""

    def avg_pool2d(
        input: torch.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *more: Any, **named: Any
    ) -> torch.Tensor:
        pads = any(padding) if isinstance(padding, (tuple, list)) else padding != 0
        if pads and input.device.type != "cpu":
            input = input.contiguous()
        return plain(input, kernel_size, stride, padding, *more, **named)

    correcting: Any = avg_pool2d
    correcting.corrects = plain
    return avg_pool2d
