"""ResNet-18, as its author would have it: it knows nothing of hal."""

import itertools

import torch
from torch import nn

__all__ = ["Net", "example_inputs"]


class Block(nn.Module):
    """Two convolutions and a shortcut (He et al., arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, outputs, height / stride, width / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class Net(nn.Module):
    """ResNet-18 for images (batch, 3, height, width)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        widths = [64, 64, 128, 256, 512]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(Block(inputs, outputs, 1 if index == 0 else 2), Block(outputs, outputs, 1))
                for index, (inputs, outputs) in enumerate(itertools.pairwise(widths))
            )
        )
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


def example_inputs(batch: int) -> torch.Tensor:
    """Images (batch, 3, 64, 64)."""
    return torch.rand(batch, 3, 64, 64)
