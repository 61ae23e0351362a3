"""VGG16 (Simonyan and Zisserman, arXiv 1409.1556), configuration D, without its dense layers."""

from __future__ import annotations

from hal import nn
from hal.models._backbones.blocks import IMAGENET_MEAN, IMAGENET_STD, Backbone, Block, Normalize

__all__ = ["vgg16"]

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_PADDING = ((1, 1), (1, 1))


def vgg16() -> Backbone:
    """Five blocks of 3x3 convolutions, each with a pooling at its end: 512 features.

    The dense layers of the original hold nine tenths of its parameters and fix the size of the image; the mean over
    the last feature map takes their place.
    """
    blocks = []
    position = 0  # in torchvision's list, where each ReLU and each pooling counts
    for index, (filters, count) in enumerate(_STAGES):
        layers: list[nn.Layer] = [Normalize(IMAGENET_MEAN, IMAGENET_STD)] if index == 0 else []
        sources = []
        for _ in range(count):
            layers.append(nn.Conv2d(filters, padding=_PADDING, activation="relu", init="he_normal"))
            sources.append(f"features.{position}")
            position += 2
        position += 1
        blocks.append(Block(f"block_{index}", nn.Sequential(*layers, nn.MaxPool2d()), tuple(sources)))
    return Backbone("vgg16", tuple(blocks), "torchvision", len(blocks))
