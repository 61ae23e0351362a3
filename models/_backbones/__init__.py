"""Networks that were trained on images or texts, as blocks of layers, and how their weights are read."""

from __future__ import annotations

from collections.abc import Mapping

from hal.models._backbones.blocks import Backbone, Block
from hal.models._backbones.efficientnet import efficientnet_lite0
from hal.models._backbones.minilm import minilm
from hal.models._backbones.resnet import resnet50
from hal.models._backbones.vgg import vgg16
from hal.models._backbones.weights import load_weights

__all__ = ["BACKBONES", "Backbone", "Block", "load_weights"]

BACKBONES: Mapping[str, Backbone] = {
    found.name: found for found in (efficientnet_lite0(), minilm(), resnet50(), vgg16())
}
"""All backbones by name."""
