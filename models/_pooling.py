"""From a sequence with padding to one vector."""

from __future__ import annotations

from hal import ops
from hal.types import Array

__all__ = ["masked_mean"]


def masked_mean(x: Array, there: Array) -> Array:
    """The mean over the steps that count, (batch, features); zeros where none does.

    Args:
        x: (batch, time, features).
        there: booleans (batch, time, 1).
    """
    weights = ops.astype(there, x.dtype)
    return ops.sum(x * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), ops.filled((1,), 1.0, like=x))
