"""Layers and models: frozen descriptions over the neutral tensor API; parameters live in plain nested dicts."""

from hal.nn.attention import MultiHeadAttention, TransformerBlock
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
from hal.nn.positions import LearnedPositions, SinusoidalPositions
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
    "LearnedPositions",
    "LossOutput",
    "MaxPool2d",
    "Model",
    "ModelConfig",
    "MultiHeadAttention",
    "Objective",
    "Param",
    "Phase",
    "Report",
    "Reshape",
    "Residual",
    "Sequential",
    "SimpleRNN",
    "SinusoidalPositions",
    "TrainedModel",
    "TrainingView",
    "TransformerBlock",
    "initialize",
]
