"""Layers without a window or a sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hal import ops
from hal.errors import ShapeError
from hal.nn.layer import Layer, Param, Shape, Specs, activate
from hal.types import Array, Tree

__all__ = ["Activation", "Dense", "Dropout", "Embedding", "Flatten", "Reshape"]


@dataclass(frozen=True)
class Dense(Layer):
    """A dense layer: ``x @ kernel + bias`` over the last axis, (batch, ..., in) to (batch, ..., units)."""

    units: int
    activation: str | None = None
    bias: bool = True
    init: str = "glorot_uniform"

    def params(self, shape: Shape) -> Specs:
        """Kernel (in, units) and bias (units,)."""
        if not shape:
            raise ShapeError(
                "a dense layer was given inputs of one number for each sample, but it takes inputs of shape "
                "(..., features)"
            )
        kernel = Param((shape[-1], self.units), self.init, axes="IO")
        return {"kernel": kernel, "bias": Param((self.units,), "zeros")} if self.bias else {"kernel": kernel}

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, ..., units)."""
        return activate(self.activation, ops.linear(x, params["kernel"], params.get("bias"))), state


@dataclass(frozen=True)
class Embedding(Layer):
    """An embedding: looks up rows of a table, integers (batch, ...) to (batch, ..., features)."""

    entries: int
    features: int

    @property
    def takes_ids(self) -> bool:
        """Integers."""
        return True

    def params(self, shape: Shape) -> Specs:
        """Table (entries, features)."""
        return {"table": Param((self.entries, self.features), "uniform_0.05")}

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, ..., features)."""
        return ops.embedding(params["table"], x), state


@dataclass(frozen=True)
class Dropout(Layer):
    """Sets a fraction of the values to zero during training (Srivastava et al., JMLR 2014)."""

    rate: float

    @property
    def draws(self) -> bool:
        """True: dropout draws which values to drop."""
        return True

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape.

        Raises:
            ShapeError: training without a key.
        """
        if not training:
            return x, state
        if key is None:
            raise ShapeError("dropout was applied in training without a random key; pass key= to apply")
        return ops.dropout(x, self.rate, key), state


@dataclass(frozen=True)
class Activation(Layer):
    """Applies an activation function, given by name, to each value. ``leaky_relu`` takes a slope."""

    name: str
    slope: float = 0.01

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape."""
        return (ops.leaky_relu(x, self.slope) if self.name == "leaky_relu" else activate(self.name, x)), state


@dataclass(frozen=True)
class Flatten(Layer):
    """Reshapes (batch, ...) to (batch, features), in the logical order of the axes."""

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, features)."""
        return ops.reshape(x, (x.shape[0], math.prod(x.shape[1:]))), state


@dataclass(frozen=True)
class Reshape(Layer):
    """Reshapes (batch, ...) to (batch, *shape)."""

    shape: Shape

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, *shape).

        Raises:
            ShapeError: the number of values differs.
        """
        if math.prod(x.shape[1:]) != math.prod(self.shape):
            raise ShapeError(
                f"inputs of shape {tuple(x.shape[1:])} cannot be reshaped to {self.shape}; the number of values "
                "must be the same"
            )
        return ops.reshape(x, (x.shape[0], *self.shape)), state
