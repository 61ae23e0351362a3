"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, arXiv 1905.11946) without squeeze-and-excite and with ReLU6."""

from __future__ import annotations

from hal import nn
from hal.models._backbones.blocks import Backbone, Block, Normalize, ReLU6

__all__ = ["efficientnet_lite0"]

# Repeats, window, stride of the first, expansion, channels in, channels out: table 1 of the paper.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
_HEAD = 1280
# Most of the last two stages is left out: on handwritten digits at 64 pixels a linear head reaches 0.97 after these
# blocks and 0.955 after all, which are specific to photographs (Yosinski et al., arXiv 1411.1792).
_KEPT = 13
# The Lite models were trained on (pixel - 127) / 128 with pixels in [0, 255], all channels alike.
_MEAN, _STD = 127 / 255, 128 / 255


def _conv(filters: int, window: int = 1, strides: int = 1, groups: int = 1) -> tuple[nn.Layer, nn.Layer]:
    conv = nn.Conv2d(filters, window, strides=strides, groups=groups, bias=False, init="he_normal")
    return conv, nn.BatchNorm(momentum=0.99, epsilon=1e-3)


def _mbconv(index: int, window: int, strides: int, expansion: int, channels: int, filters: int) -> Block:
    """An inverted residual block (Sandler et al., arXiv 1801.04381): expand, depthwise, project."""
    wide = channels * expansion
    expand = (*_conv(wide), ReLU6()) if expansion > 1 else ()
    body = nn.Sequential(*expand, *_conv(wide, window, strides, groups=wide), ReLU6(), *_conv(filters))
    modules: tuple[str, ...] = ("_expand_conv", "_bn0") if expansion > 1 else ()
    modules += ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    keeps = strides == 1 and channels == filters
    sources = tuple(f"_blocks.{index}.{module}" for module in modules)
    return Block(f"block_{index}", nn.Residual(body) if keeps else body, sources)


def efficientnet_lite0() -> Backbone:
    """Stem, 16 blocks and the last 1x1 convolution: 1280 features."""
    stem = nn.Sequential(Normalize((_MEAN,), (_STD,)), *_conv(32, 3, 2), ReLU6())
    blocks = [Block("stem", stem, ("_conv_stem", "_bn0"))]
    for repeats, window, strides, expansion, channels, filters in _STAGES:
        for repeat in range(repeats):
            index = len(blocks) - 1
            step, width = (strides, channels) if repeat == 0 else (1, filters)
            blocks.append(_mbconv(index, window, step, expansion, width, filters))
    blocks.append(Block("top", nn.Sequential(*_conv(_HEAD), ReLU6()), ("_conv_head", "_bn1")))
    return Backbone("efficientnet_lite0", tuple(blocks), "efficientnet_lite_pytorch", _KEPT)
