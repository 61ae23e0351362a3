"""What the tests of layers and models share."""

import numpy as np
import optree

import hal
from hal import nn
from hal.registry import backend

CPU = hal.device("cpu")


def put(array):
    return backend("cpu").from_host(np.asarray(array), CPU)


def host(array):
    return backend("cpu").to_host(array)


def values(specs, seed=0):
    return optree.tree_map(put, nn.initialize(specs, seed))


def shapes(specs):
    return {name: shapes(spec) if isinstance(spec, dict) else spec.shape for name, spec in specs.items()}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
