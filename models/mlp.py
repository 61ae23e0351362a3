"""A multilayer perceptron for tables: dense layers on a vector of numbers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from hal import nn
from hal.data import Dataset, Wanted

__all__ = ["MLP"]


class MLPConfig(nn.ModelConfig):
    """Keys of the mlp."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(64, 64), description="Units of each hidden dense layer. [] leaves a linear model."
    )
    activation: Literal["relu", "gelu", "silu", "tanh"] = Field(
        default="relu", description="Activation of the hidden layers: relu, gelu, silu or tanh."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout rate after each hidden layer.")


class MLP(nn.Classifier):
    """Dense layers with dropout between them, for a class, numbers or tags."""

    Config = MLPConfig
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=50, lr=3e-3, batch=32)

    def __init__(self, config: MLPConfig, data: Dataset) -> None:
        super().__init__(config, data)
        layers: list[nn.Layer] = []
        for units in config.hidden:
            layers.append(nn.Dense(units, activation=config.activation))
            layers += [nn.Dropout(config.dropout)] if config.dropout else []
        self.net = nn.Sequential(*layers, nn.Dense(self.outputs))

    @classmethod
    def wanted(cls, config: MLPConfig) -> Wanted:
        """Vectors of any size."""
        return Wanted("vector", (0,))
