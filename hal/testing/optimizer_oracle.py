"""One step of each optimizer in float64 NumPy, from the papers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["optimizer_step"]

F64 = NDArray[np.float64]


def optimizer_step(
    name: str, hyper: Mapping[str, float], p: F64, g: F64, slots: Mapping[str, F64], *, lr: float, step: int
) -> tuple[F64, dict[str, F64]]:
    """A parameter and its slots after a step.

    Args:
        name: one of :data:`hal.tensor.optimizers.HYPER`.
        hyper: all its constants.
        p: the parameter.
        g: its gradient.
        slots: what the optimizer keeps, zeros before the first step.
        lr: learning rate.
        step: 1 at the first step.
    """
    decay = hyper["weight_decay"]
    if name == "sgd":
        velocity = hyper["momentum"] * slots["velocity"] + g + decay * p
        return p - lr * velocity, {"velocity": velocity}
    if name == "rmsprop":
        g = g + decay * p
        square = hyper["decay"] * slots["square"] + (1 - hyper["decay"]) * g**2
        return p - lr * g / (np.sqrt(square) + hyper["epsilon"]), {"square": square}
    if name == "adam":
        g = g + decay * p
    else:
        p = p - lr * decay * p
    beta1, beta2 = hyper["beta1"], hyper["beta2"]
    mean = beta1 * slots["mean"] + (1 - beta1) * g
    square = beta2 * slots["square"] + (1 - beta2) * g**2
    unbiased_mean, unbiased_square = mean / (1 - beta1**step), square / (1 - beta2**step)
    return p - lr * unbiased_mean / (np.sqrt(unbiased_square) + hyper["epsilon"]), {"mean": mean, "square": square}
