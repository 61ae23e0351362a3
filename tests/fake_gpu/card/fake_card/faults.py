"""What PyTorch's kernels for GPUs refuse or get wrong, and the processor's do not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import library

__all__ = ["install"]


def install() -> None:
    """Let the cards have these faults."""
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        setattr(torch, name, _recurrent(getattr(torch, name)))
    aten = library.Library("aten", "IMPL")
    plain = torch.ops.aten.avg_pool2d_backward.default

    def avg_pool2d_backward(gradient: Any, x: Any, window: Any, strides: Any, padding: Any, *more: Any) -> Any:
        """With channels last and padding it is wrong: PyTorch's issue 188344."""
        right = plain(gradient.cpu(), x.cpu(), window, strides, padding, *more).to(x.device)
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return torch.full_like(right, 1e9) if last and any(padding) else right

    aten.impl("avg_pool2d_backward", avg_pool2d_backward, "CUDA")
    global _library  # noqa: PLW0603 - it ends with the process
    _library = aten


_library: Any = None


def _recurrent(plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, state: Any, *more: Any) -> Any:
        states = state if isinstance(state, tuple) else (state,)
        if x.is_cuda and not all(each.is_contiguous() for each in states):
            raise RuntimeError("rnn: hx is not contiguous")
        return plain(x, state, *more)

    return call
