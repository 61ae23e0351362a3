"""A small CNN with batch norm, as its author would have it: it knows nothing of hal."""

import torch
from torch import nn

__all__ = ["Net", "example_inputs"]


class Net(nn.Module):
    """Two convolutions, each with batch norm and max pooling, and a dense layer."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv2, self.norm2 = nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.head = nn.Linear(64 * 7 * 7, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        x = nn.functional.max_pool2d(torch.relu(self.norm1(self.conv1(x))), 2)
        x = nn.functional.max_pool2d(torch.relu(self.norm2(self.conv2(x))), 2)
        return self.head(x.flatten(1))


def example_inputs(batch: int) -> torch.Tensor:
    """Images (batch, 1, 28, 28)."""
    return torch.rand(batch, 1, 28, 28)
