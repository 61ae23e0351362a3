"""ResNet-50 (He et al., arXiv 1512.03385) in the form known as v1.5: a bottleneck strides in its 3x3 convolution."""

from __future__ import annotations

from hal import nn
from hal.models._backbones.blocks import IMAGENET_MEAN, IMAGENET_STD, Backbone, Block, Normalize

__all__ = ["resnet50"]

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_EXPANSION = 4


def _conv(filters: int, window: int = 1, strides: int = 1) -> tuple[nn.Layer, nn.Layer]:
    # Padding alike on both sides, as the weights were trained with; "same" would put the odd row at the end.
    pad = window // 2
    padding = ((pad, pad), (pad, pad))
    return nn.Conv2d(filters, window, strides=strides, padding=padding, bias=False, init="he_normal"), nn.BatchNorm()


def _bottleneck(name: str, source: str, width: int, strides: int, *, first: bool) -> Block:
    body = nn.Sequential(
        *_conv(width),
        nn.Activation("relu"),
        *_conv(width, 3, strides),
        nn.Activation("relu"),
        *_conv(width * _EXPANSION),
    )
    shortcut = nn.Sequential(*_conv(width * _EXPANSION, 1, strides)) if first else None
    modules = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", *(["downsample.0", "downsample.1"] if first else [])]
    return Block(name, nn.Residual(body, shortcut, "relu"), tuple(f"{source}.{module}" for module in modules))


def resnet50() -> Backbone:
    """Stem and 16 bottlenecks: 2048 features."""
    stem = nn.Sequential(
        Normalize(IMAGENET_MEAN, IMAGENET_STD),
        *_conv(64, 7, 2),
        nn.Activation("relu"),
        nn.MaxPool2d(3, strides=2, padding=((1, 1), (1, 1))),
    )
    blocks = [Block("stem", stem, ("conv1", "bn1"))]
    for stage, (width, count) in enumerate(_STAGES):
        for index in range(count):
            strides = 2 if stage > 0 and index == 0 else 1
            source = f"layer{stage + 1}.{index}"
            blocks.append(_bottleneck(f"block_{len(blocks) - 1}", source, width, strides, first=index == 0))
    return Backbone("resnet50", tuple(blocks), "torchvision", len(blocks))
