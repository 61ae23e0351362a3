"""hal's gan in PyTorch as a good engineer writes it. Its random numbers are PyTorch's, so its losses are its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers import Peer
from benchmarks.peers.torch_native import images, optimizer
from benchmarks.task import Task

__all__ = ["serve"]

_NOISE, _WIDTH, _SLOPE, _DROPOUT = 100, 256, 0.2, 0.3


class _Generator(nn.Module):
    """Noise (batch, 100) to images (batch, channels, size, size)."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.base = size // 4
        self.start = nn.Linear(_NOISE, self.base * self.base * _WIDTH, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm1d(self.base * self.base * _WIDTH)])
        self.convolutions = nn.ModuleList()
        for before, after, stride in (
            (_WIDTH, _WIDTH // 2, 1),
            (_WIDTH // 2, _WIDTH // 4, 2),
            (_WIDTH // 4, channels, 2),
        ):
            self.convolutions.append(
                nn.ConvTranspose2d(before, after, 5, stride, padding=2, output_padding=stride - 1, bias=False)
            )
            if after != channels:
                self.norms.append(nn.BatchNorm2d(after))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """Images in [-1, 1]."""
        x = F.leaky_relu(self.norms[0](self.start(noise)), _SLOPE).view(-1, _WIDTH, self.base, self.base)
        for convolution, norm in zip(self.convolutions, self.norms[1:], strict=False):
            x = F.leaky_relu(norm(convolution(x)), _SLOPE)
        return torch.tanh(self.convolutions[-1](x))


def _discriminator(size: int, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 64, 5, 2, padding=2),
        nn.LeakyReLU(_SLOPE),
        nn.Dropout(_DROPOUT),
        nn.Conv2d(64, 128, 5, 2, padding=2),
        nn.LeakyReLU(_SLOPE),
        nn.Dropout(_DROPOUT),
        nn.Flatten(),
        nn.Linear((size // 4) ** 2 * 128, 1),
    )


def serve(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`."""
    if task.model != "gan":
        raise ValueError(f"the torch-gan candidate trains gan, not {task.model}")
    torch.manual_seed(task.seed)
    data = task.data()
    real = images(torch.from_numpy(data.inputs), task.layout) * 2 - 1
    _, channels, size, _ = real.shape
    generator, discriminator = _Generator(size, channels), _discriminator(size, channels)
    moves = optimizer(discriminator), optimizer(generator)
    feed = data.batches(task.batch)

    def entropy(logits: torch.Tensor, label: float) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    def step() -> torch.Tensor:
        batch = real[torch.from_numpy(next(feed))]
        moves[0].zero_grad(set_to_none=True)
        with torch.no_grad():
            fakes = generator(torch.randn(len(batch), _NOISE))
        loss = entropy(discriminator(batch), 1) + entropy(discriminator(fakes), 0)
        loss.backward()
        moves[0].step()
        moves[1].zero_grad(set_to_none=True)
        discriminator.requires_grad_(False)  # it is not trained here, so its gradients are not computed
        entropy(discriminator(generator(torch.randn(len(batch), _NOISE))), 1).backward()
        discriminator.requires_grad_(True)
        moves[1].step()
        return loss.detach()

    count = sum(p.numel() for net in (generator, discriminator) for p in net.parameters())
    use(Peer(step, count, {"torch": torch.__version__}))
