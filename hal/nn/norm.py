"""Layers that normalize; their parameters and statistics stay fp32 in every precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hal import ops
from hal.nn.layer import Layer, Param, Shape, Specs
from hal.types import Array, Tree

__all__ = ["BatchNorm", "LayerNorm"]


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalises each channel, by the batch when training and by running statistics otherwise.

    See :func:`hal.ops.batch_norm`.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    def params(self, shape: Shape) -> Specs:
        """Scale and offset (channels,)."""
        return {
            "scale": Param((shape[-1],), "ones", cast=False),
            "offset": Param((shape[-1],), "zeros", cast=False),
        }

    def state(self, shape: Shape) -> Specs:
        """Running mean and variance (channels,)."""
        return {
            "mean": Param((shape[-1],), "zeros", cast=False),
            "variance": Param((shape[-1],), "ones", cast=False),
        }

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape."""
        y, mean, variance = ops.batch_norm(
            x,
            params["scale"],
            params["offset"],
            state["mean"],
            state["variance"],
            training=training,
            momentum=self.momentum,
            epsilon=self.epsilon,
        )
        return y, {"mean": mean, "variance": variance}


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalises over the last axis; see :func:`hal.ops.layer_norm`."""

    epsilon: float = 1e-5

    def params(self, shape: Shape) -> Specs:
        """Scale and offset (features,)."""
        return {
            "scale": Param((shape[-1],), "ones", cast=False),
            "offset": Param((shape[-1],), "zeros", cast=False),
        }

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape."""
        return ops.layer_norm(x, params["scale"], params["offset"], epsilon=self.epsilon), state
