"""Oracle and cases of :mod:`hal.tensor.ops.losses`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]

_LOSSES = [
    Case("cross_entropy", "batch", (floats(4, 5), np.array([0, 4, 2, 2], np.int64)), result="fp32"),
    Case("cross_entropy", "int32", (floats(4, 5), np.array([0, 4, 2, 2], np.int32)), result="fp32"),
    Case("cross_entropy", "sequence", (floats(2, 3, 4), np.array([[0, 1, 3], [2, 2, 0]], np.int64)), result="fp32"),
    Case("cross_entropy", "empty-batch", (floats(0, 4), np.zeros(0, np.int64)), result="fp32"),
    Case(
        "sigmoid_cross_entropy",
        "",
        (floats(3, 2), floats(3, 2, spread=0.25, positive=True)),
        result="fp32",
        constant=frozenset({1}),
    ),
    Case("squared_error", "", (floats(3, 2), floats(3, 2)), result="fp32"),
]

# Where a formula taken literally overflows, underflows or cancels. Errors are measured against 1 + magnitude.
_LARGE = np.array([[9984, -9984, 0], [9984, 9984, 9728], [-9984, -9728, -9984]], np.float32)
_EIGHTY = np.array([[80, -80, 0], [80, 80, 79], [-80, -79, -80]], np.float32)
_TAILS = np.array([-100, -30, -10, -1, 0, 1, 10, 30, 100], np.float32)

_HARD = [
    *(
        Case("cross_entropy", f"hard-{label}", (logits, np.array([1, 2, 0])), result="fp32", scale=1.0, gradient=grad)
        for label, logits, grad in (("9984", _LARGE, False), ("80", _EIGHTY, True))
    ),
    Case(
        "sigmoid_cross_entropy",
        "hard-tails",
        (_TAILS, np.array([0, 1, 0, 1, 0, 1, 0, 1, 0], np.float32)),
        result="fp32",
        constant=frozenset({1}),
        scale=1.0,
    ),
]

CASES = _LOSSES + _HARD

WRONG_SHAPES: tuple[Wrong, ...] = (("cross_entropy", ((2, 3), (3,)), {}, "without the last axis"),)


class Oracle(Functions):
    """One number for each sample."""

    def cross_entropy(self, logits: F64, labels: NDArray[Any]) -> F64:
        log_p = self.log_softmax(logits)
        return -np.take_along_axis(log_p, labels[..., None].astype(np.int64), axis=-1)[..., 0]

    def sigmoid_cross_entropy(self, logits: F64, labels: F64) -> F64:
        return labels * np.logaddexp(0, -logits) + (1 - labels) * np.logaddexp(0, logits)

    def squared_error(self, prediction: F64, target: F64) -> F64:
        return np.square(prediction - target)
