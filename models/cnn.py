"""A small convolutional classifier: three convolutions, two poolings, two dense layers."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, PositiveInt

from hal import nn, ops
from hal.data import Dataset, Wanted
from hal.types import Array, Tree

__all__ = ["CNN"]

_LEAST_SQUARE = 1e-6
"""Keeps an image of one color from being divided by zero."""


class CNNConfig(nn.ModelConfig):
    """Keys of the cnn."""

    filters: tuple[PositiveInt, ...] = Field(
        default=(32, 64, 64),
        min_length=1,
        description="Filters of each 3x3 convolution. A pooling layer follows each one except the last.",
    )
    dense: int = Field(default=64, ge=1, description="Units of the dense layer before the output layer.")
    size: int = Field(default=28, ge=10, description="Height and width that images are resized to.")
    channels: int = Field(default=1, ge=1, le=4, description="Channels of the images.")
    normalize: bool = Field(
        default=False,
        description="Whether each image is first scaled to a mean of 0 and a deviation of 1, in training and in use.",
    )


class CNN(nn.Classifier):
    """Convolutions 32, 64, 64 with max-pooling, dense 64, classes."""

    Config = CNNConfig
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=30, lr=3e-3, batch=64, augment=("crop",))

    def __init__(self, config: CNNConfig, data: Dataset) -> None:
        super().__init__(config, data)
        body: list[nn.Layer] = []
        for index, filters in enumerate(config.filters):
            body += [nn.MaxPool2d()] if index else []
            body.append(nn.Conv2d(filters, padding="valid", activation="relu"))
        self.body = nn.Sequential(*body, nn.Flatten(), nn.Dense(config.dense, activation="relu"))
        self.head = nn.Dense(self.outputs)

    @classmethod
    def wanted(cls, config: CNNConfig) -> Wanted:
        """Images (size, size, channels)."""
        return Wanted("image", (config.size, config.size, config.channels))

    def params(self) -> dict[str, Any]:
        """Body and head."""
        return {"body": self.body.params(self.input_shape), "head": self.head.params((self.config.dense,))}

    def state(self) -> dict[str, Any]:
        """None: no layer updates statistics."""
        return {}

    def features(self, params: Tree, state: Tree, inputs: Array) -> Array:
        """What the head sees: (batch, dense)."""
        if self.config.normalize:
            centered = inputs - ops.mean(inputs, axis=(1, 2, 3), keepdims=True)
            square = ops.mean(ops.square(centered), axis=(1, 2, 3), keepdims=True)
            inputs = centered / ops.sqrt(square + _LEAST_SQUARE)
        return self.body.apply(params["body"], {}, inputs)[0]

    def logits(
        self, params: Tree, state: Tree, inputs: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """Logits (batch, classes) of images (batch, height, width, channels) in [0, 1]."""
        return self.head.apply(params["head"], {}, self.features(params, state, inputs))[0], state
