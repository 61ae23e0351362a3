"""Ops of a process that holds its rows of each batch: what looks at the whole batch asks the other processes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.distributed as dist

from hal.backends._torch.ops import TorchOps, eagerly

__all__ = ["SharedOps"]

Tensor = torch.Tensor


class SharedOps(TorchOps):
    """As :class:`TorchOps`, with batch statistics over the rows of all processes, each of which holds as many."""

    shares: ClassVar[bool] = True

    def _batch_shares(self) -> int:
        return dist.get_world_size()

    def _batch_norm(
        self,
        x: Tensor,
        scale: Tensor,
        offset: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not training:
            return super()._batch_norm(x, scale, offset, mean, variance, training, momentum, epsilon)
        y, batch_mean, batch_variance = _normalized(x, scale, offset, epsilon)
        count = x.numel() // x.shape[-1] * dist.get_world_size()
        unbiased = batch_variance * (count / (count - 1))
        return (
            y,
            momentum * mean + (1 - momentum) * batch_mean,
            momentum * variance + (1 - momentum) * unbiased,
        )


@eagerly
def _normalized(x: Tensor, scale: Tensor, offset: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = _Normalise.apply(x, scale, offset, epsilon)  # type: ignore[no-untyped-call]
    return found


class _Normalise(torch.autograd.Function):
    """Normalises each channel by the statistics of all processes; one exchange forward, one backward.

    Means and variances of equal shares are put together as by Chan, Golub and LeVeque (1979), so that no precision is
    lost to a difference of squares.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(scale.dtype)
        axes = tuple(range(x.ndim - 1))
        own_variance, own_mean = torch.var_mean(wide, axes, correction=0)
        mine = torch.stack([own_mean, own_variance])
        every = torch.empty((dist.get_world_size(), *mine.shape), dtype=mine.dtype, device=mine.device)
        dist.all_gather(list(every.unbind(0)), mine)
        mean = every[:, 0].mean(0)
        variance = every[:, 1].mean(0) + (every[:, 0] - mean).square().mean(0)
        factor = torch.rsqrt(variance + epsilon)
        normal = (wide - mean) * factor
        ctx.save_for_backward(normal, scale, factor)
        ctx.mark_non_differentiable(mean, variance)
        return (normal * scale + offset).to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        normal, scale, factor = ctx.saved_tensors
        grad = grads[0].to(scale.dtype)
        axes = tuple(range(grad.ndim - 1))
        sums = torch.stack([grad.sum(axes), (grad * normal).sum(axes)])
        total = sums.clone()
        dist.all_reduce(total)
        count = grad.numel() // grad.shape[-1] * dist.get_world_size()
        back = (grad - total[0] / count - normal * (total[1] / count)) * (scale * factor)
        return back.to(grads[0].dtype), sums[1], sums[0], None
