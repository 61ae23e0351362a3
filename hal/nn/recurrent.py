"""Recurrent layers over sequences (batch, time, features)."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

from hal import ops
from hal.errors import ShapeError
from hal.nn.layer import Layer, Param, Shape, Specs
from hal.types import Array, Tree

__all__ = ["GRU", "LSTM", "Recurrent", "SimpleRNN"]


@dataclass(frozen=True)
class Recurrent(Layer, abc.ABC):
    """Base class of the recurrent layers.

    Attributes:
        units: features of the output.
        sequence: give the output of every step (batch, time, units), not of the last alone (batch, units).
    """

    units: int
    sequence: bool = False

    gates: ClassVar[int]
    bias_init: ClassVar[str] = "zeros"

    def params(self, shape: Shape) -> Specs:
        """Kernel (features, gates * units), recurrent (units, gates * units), bias (gates * units,)."""
        if len(shape) != 2:
            raise ShapeError(
                f"the layer was given inputs of shape {shape}, but it takes sequences of shape (time, features)"
            )
        width = self.gates * self.units
        return {
            "kernel": Param((shape[1], width), "glorot_uniform", axes="IO"),
            "recurrent": Param((self.units, width), "orthogonal_blocks", axes="IO"),
            "bias": Param((width,), self.bias_init),
        }

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, time, units), or (batch, units) unless ``sequence``."""
        ys, _ = self.run(params, x, None)
        return (ys if self.sequence else ys[:, -1, :]), state

    @abc.abstractmethod
    def run(self, params: Tree, x: Array, carry: Any) -> tuple[Array, Any]:
        """The output of every step, and the carry with which the next part of the same sequence continues."""


@dataclass(frozen=True)
class SimpleRNN(Recurrent):
    """h' = tanh(x @ kernel + h @ recurrent + bias); see :func:`hal.ops.rnn`."""

    gates: ClassVar[int] = 1

    def run(self, params: Tree, x: Array, carry: Any) -> tuple[Array, Any]:
        """The carry is h (batch, units)."""
        return ops.rnn(x, carry, params["kernel"], params["recurrent"], params["bias"])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory; see :func:`hal.ops.lstm`."""

    gates: ClassVar[int] = 4
    bias_init: ClassVar[str] = "lstm_bias"

    def run(self, params: Tree, x: Array, carry: Any) -> tuple[Array, Any]:
        """The carry is (h, c), each (batch, units)."""
        return ops.lstm(x, carry, params["kernel"], params["recurrent"], params["bias"])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent unit; see :func:`hal.ops.gru`."""

    gates: ClassVar[int] = 3

    def params(self, shape: Shape) -> Specs:
        """The parameters of every recurrent layer, and recurrent_bias (3 * units,)."""
        return {**super().params(shape), "recurrent_bias": Param((3 * self.units,), "zeros")}

    def run(self, params: Tree, x: Array, carry: Any) -> tuple[Array, Any]:
        """The carry is h (batch, units)."""
        return ops.gru(  # type: ignore[no-any-return]
            x, carry, params["kernel"], params["recurrent"], params["bias"], params["recurrent_bias"]
        )
