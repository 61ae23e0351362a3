"""Layers and models: frozen descriptions over the neutral tensor API; parameters live in plain nested dicts."""

from typing import Any

from hal.nn.classifier import Classifier
from hal.nn.conv import AvgPool2d, Conv2d, Conv2dTranspose, GlobalAvgPool, MaxPool2d
from hal.nn.core import Activation, Dense, Dropout, Embedding, Flatten, Reshape
from hal.nn.init import initialize
from hal.nn.layer import Layer, Param, Residual, Sequential
from hal.nn.model import (
    Auxiliary,
    Defaults,
    LossOutput,
    Model,
    ModelConfig,
    Objective,
    Phase,
    Report,
    TrainedModel,
    TrainingView,
)
from hal.nn.norm import BatchNorm, LayerNorm
from hal.nn.recurrent import GRU, LSTM, SimpleRNN

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "Auxiliary",
    "AvgPool2d",
    "BatchNorm",
    "Classifier",
    "Conv2d",
    "Conv2dTranspose",
    "Defaults",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "LayerNorm",
    "LossOutput",
    "MaxPool2d",
    "Model",
    "ModelConfig",
    "Objective",
    "Param",
    "Phase",
    "Report",
    "Reshape",
    "Residual",
    "Sequential",
    "SimpleRNN",
    "TrainedModel",
    "TrainingView",
    "initialize",
]

_FORMER_NAMES = {"Aux": "LossOutput", "Trained": "TrainedModel", "View": "TrainingView"}


def __getattr__(name: str) -> Any:
    if name in _FORMER_NAMES:  # models that were written for 0.1.0
        return globals()[_FORMER_NAMES[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
