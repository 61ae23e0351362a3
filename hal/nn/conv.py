"""Layers over images (batch, height, width, channels)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hal import ops
from hal.errors import ShapeError
from hal.nn.layer import Layer, Param, Shape, Specs, activate
from hal.tensor import namespace
from hal.tensor.shapes import Padding, Size, pair
from hal.types import Array, Tree

__all__ = ["AvgPool2d", "Conv2d", "Conv2dTranspose", "GlobalAvgPool", "MaxPool2d"]


def _image(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ShapeError(
            f"the layer was given inputs of shape {shape}, but it takes images of shape (height, width, channels)"
        )
    return shape


@dataclass(frozen=True)
class Conv2d(Layer):
    """Convolution; see :func:`hal.ops.conv2d`."""

    filters: int
    window: Size = 3
    strides: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    groups: int = 1
    activation: str | None = None
    bias: bool = True
    init: str = "glorot_uniform"

    def params(self, shape: Shape) -> Specs:
        """Kernel (height, width, in / groups, filters) and bias (filters,)."""
        channels = _image(shape)[2] // self.groups
        kernel = Param((*pair(self.window, "window"), channels, self.filters), self.init, axes="HWIO")
        return {"kernel": kernel, "bias": Param((self.filters,), "zeros")} if self.bias else {"kernel": kernel}

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, height', width', filters)."""
        y = ops.conv2d(
            x,
            params["kernel"],
            params.get("bias"),
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return activate(self.activation, y), state

    def without_activation(self) -> tuple[Layer, str | None]:
        """The convolution without its activation."""
        return replace(self, activation=None), self.activation


@dataclass(frozen=True)
class Conv2dTranspose(Layer):
    """Transposed convolution, which enlarges images; see :func:`hal.ops.conv2d_transpose`."""

    filters: int
    window: Size = 3
    strides: Size = 1
    padding: Padding = "same"
    activation: str | None = None
    bias: bool = True
    init: str = "glorot_uniform"

    def params(self, shape: Shape) -> Specs:
        """Kernel (height, width, in, filters) and bias (filters,)."""
        kernel = Param((*pair(self.window, "window"), _image(shape)[2], self.filters), self.init, axes="HWIO_transpose")
        return {"kernel": kernel, "bias": Param((self.filters,), "zeros")} if self.bias else {"kernel": kernel}

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, height', width', filters)."""
        y = ops.conv2d_transpose(x, params["kernel"], params.get("bias"), strides=self.strides, padding=self.padding)
        return activate(self.activation, y), state


@dataclass(frozen=True)
class MaxPool2d(Layer):
    """Max-pooling. :class:`Sequential` may move an activation before it to after it, where fewer values remain."""

    window: Size = 2
    strides: Size | None = None
    padding: Padding = "valid"
    activation: str | None = None

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, height', width', channels)."""
        first = not namespace(x).fuses
        y = ops.max_pool2d(
            x if first else activate(self.activation, x), self.window, strides=self.strides, padding=self.padding
        )
        return (activate(self.activation, y) if first else y), state

    def taking_activation(self, name: str) -> Layer | None:
        """This layer followed by the activation, which gives the same values for a nondecreasing activation."""
        return replace(self, activation=name) if self.activation is None else None


@dataclass(frozen=True)
class AvgPool2d(Layer):
    """Average pooling: the mean of each window, over the values inside the image."""

    window: Size = 2
    strides: Size | None = None
    padding: Padding = "valid"

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, height', width', channels)."""
        return ops.avg_pool2d(x, self.window, strides=self.strides, padding=self.padding), state


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Global average pooling: the mean over height and width, (batch, channels)."""

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, channels)."""
        return ops.mean(x, axis=(1, 2)), state
