"""The neutral tensor API: what every backend offers, with defaults written in the Array API standard alone."""

from hal.tensor.dispatch import namespace, register
from hal.tensor.ops import OPS, Ops
from hal.tensor.random import Key

__all__ = ["OPS", "Key", "Ops", "namespace", "register"]
