"""How layers over a sequence (batch, time, features) know where in it a step stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hal import ops
from hal.errors import ShapeError
from hal.nn.layer import Layer, Param, Shape, Specs
from hal.tensor import namespace
from hal.types import Array, Tree

__all__ = ["LearnedPositions", "SinusoidalPositions", "rotated"]


@dataclass(frozen=True)
class LearnedPositions(Layer):
    """Adds to each step a vector of its own that is learned (Gehring et al., arXiv 1705.03122).

    Attributes:
        length: the longest sequence that the layer takes, in steps.
    """

    length: int

    def params(self, shape: Shape) -> Specs:
        """Table (length, features)."""
        return {"table": Param((self.length, _sequence(shape)[1]), "normal_0.02")}

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape.

        Raises:
            ShapeError: the sequence is longer than the table.
        """
        if x.shape[1] > self.length:
            raise ShapeError(
                f"the layer was given sequences of {x.shape[1]} steps, but it has learned positions for {self.length}; "
                "use shorter sequences, or a larger length"
            )
        return x + params["table"][: x.shape[1], :], state


@dataclass(frozen=True)
class SinusoidalPositions(Layer):
    """Adds to each step sines and cosines of its position (Vaswani et al., arXiv 1706.03762, section 3.5).

    With w(i) = base ** (-2 i / features), feature i of the first half is sin(position w(i)), and feature i of the
    second half cos(position w(i)). The paper has the same values in alternating features.

    Attributes:
        base: the longest wavelength is 2 pi times this number of steps.
    """

    base: float = 10000.0

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape.

        Raises:
            ShapeError: the number of features is odd.
        """
        angles = _angles(x, x.shape[1], x.shape[2], self.base)
        return x + ops.astype(ops.concat([ops.sin(angles), ops.cos(angles)], axis=-1), x.dtype), state


def rotated(x: Array, base: float) -> Array:
    """Rotary positions: turns pairs of features by angles that grow with the position (Su et al., arXiv 2104.09864).

    The features i and i + features / 2 are a pair, as in GPT-NeoX and Llama; its angle is position base ** (-2 i /
    features). The product of a query and a key that were both rotated depends on the distance of their steps alone.

    Args:
        x: queries or keys (batch, heads, time, features).
        base: of the angles; 10000 in the paper.

    Returns:
        The same shape.

    Raises:
        ShapeError: the number of features is odd.
    """
    half = x.shape[3] // 2
    angles = _angles(x, x.shape[2], x.shape[3], base)
    cos, sin = ops.astype(ops.cos(angles), x.dtype), ops.astype(ops.sin(angles), x.dtype)
    first, second = x[..., :half], x[..., half:]
    return ops.concat([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _angles(like: Array, time: int, features: int, base: float) -> Array:
    """Position times frequency, (time, features / 2), in fp32 at least: bf16 cannot tell position 257 from 256."""
    if features % 2:
        raise ShapeError(f"positions come in pairs of features, but there are {features}; use an even number of them")
    xp = namespace(like)
    wide = xp.float64 if like.dtype == xp.float64 else xp.float32
    steps = ops.astype(ops.positions(time, like=like), wide)
    rates = ops.exp(ops.astype(ops.positions(features // 2, like=like), wide) * (-2.0 * math.log(base) / features))
    return ops.expand_dims(steps, axis=1) * rates


def _sequence(shape: Shape) -> Shape:
    if len(shape) != 2:
        raise ShapeError(
            f"the layer was given inputs of shape {shape}, but it takes sequences of shape (time, features)"
        )
    return shape
