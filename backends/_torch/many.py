"""Many tensors at once, in a few launches of kernels that take lists; see :mod:`hal.tensor.many`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

__all__ = ["cast_each", "clip_norm", "plain"]

Tensor = torch.Tensor
_KERNELS: Any = torch  # whose types leave these out


def plain(tensors: Sequence[Tensor]) -> bool:
    """Whether kernels that take lists take these, and nobody traces; compilers fuse what is written one by one."""
    tracing = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    return not tracing and all(type(tensor) is Tensor for tensor in tensors)


def cast_each(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The same values in another dtype."""
    found: tuple[Tensor, ...] = _Cast.apply(dtype, *tensors)  # type: ignore[no-untyped-call]
    return list(found)


@torch.no_grad()
def clip_norm(tensors: Sequence[Tensor], largest: float) -> list[Tensor]:
    """Tensors scaled so that their norm is at most a number."""
    norm = torch.linalg.vector_norm(torch.stack(_KERNELS._foreach_norm(tensors)))
    return list(_KERNELS._foreach_mul(tensors, (largest / (norm + 1e-12)).clamp(max=1)))


class _Cast(torch.autograd.Function):
    """Casts of many tensors, whose gradients are cast back together."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        return tuple(_copied(tensors, [dtype] * len(tensors)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [(grad, dtype) for grad, dtype in zip(grads, ctx.dtypes, strict=True) if grad is not None]
        wide = iter(_copied([grad for grad, _ in given], [dtype for _, dtype in given]) if given else ())
        return (None, *(None if grad is None else next(wide) for grad in grads))


def _copied(tensors: Sequence[Tensor], dtypes: Sequence[torch.dtype]) -> list[Tensor]:
    made = [torch.empty_like(tensor, dtype=dtype) for tensor, dtype in zip(tensors, dtypes, strict=True)]
    _KERNELS._foreach_copy_(made, list(tensors))
    return made
