"""Oracle and cases of :mod:`hal.tensor.ops.activations`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

import math

import numpy as np

from hal.testing.case import Case, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "Oracle"]

_GELU_FACTOR = math.sqrt(2 / math.pi)

_ELEMENTWISE = [
    Case(op, label, (floats(*shape),), kwargs)
    for op, kwargs in (
        ("relu", {}),
        ("leaky_relu", {"slope": 0.25}),
        ("elu", {}),
        ("gelu", {}),
        ("sigmoid", {}),
        ("silu", {}),
        ("softplus", {}),
    )
    for label, shape in (("matrix", (3, 7)), ("empty", (0, 3)), ("scalar", ()))
] + [
    Case("leaky_relu", "default-slope", (floats(5),)),
    Case("erf", "matrix", (floats(3, 7),)),
    Case("gelu", "exact", (floats(3, 7),), {"exact": True}),
]

_SOFTMAX = [
    Case(op, label, (floats(*shape),), kwargs)
    for op in ("softmax", "log_softmax")
    for label, shape, kwargs in (
        ("last", (3, 5), {}),
        ("first", (3, 5), {"axis": 0}),
        ("middle", (2, 4, 3), {"axis": 1}),
        ("one-class", (3, 1), {}),
        ("empty-batch", (0, 4), {}),
    )
]

# Where a formula taken literally overflows, underflows or cancels. Errors are measured against 1 + magnitude.
_LARGE = np.array([[9984, -9984, 0], [9984, 9984, 9728], [-9984, -9728, -9984]], np.float32)
_EIGHTY = np.array([[80, -80, 0], [80, 80, 79], [-80, -79, -80]], np.float32)
_TAILS = np.array([-100, -30, -10, -1, 0, 1, 10, 30, 100], np.float32)
_HUGE = np.array([-1000, 1000, 29952], np.float32)

_HARD = [
    *(
        Case(op, f"hard-{label}", (logits,), scale=1.0, precisions=("fp32", "fp16", "bf16"), gradient=label == "80")
        for op in ("softmax", "log_softmax")
        for label, logits in (("9984", _LARGE), ("80", _EIGHTY))
    ),
    *(
        Case(op, f"hard-{label}", (values,), scale=1.0)
        for op in ("sigmoid", "softplus", "silu", "elu", "gelu")
        for label, values in (("tails", _TAILS[_TAILS != 0] if op == "elu" else _TAILS), ("huge", _HUGE))
        if not (op == "gelu" and label == "huge")  # its cube leaves fp16's range, where the result may be anything
    ),
    Case("erf", "hard-tails", (_TAILS,), scale=1.0, precisions=("fp32", "fp16")),
    Case("gelu", "hard-exact", (_HUGE,), {"exact": True}, scale=1.0, precisions=("fp32", "fp16")),
]

CASES = _ELEMENTWISE + _SOFTMAX + _HARD


class Oracle(Functions):
    """Elementwise functions, and softmax along an axis."""

    def relu(self, x: F64) -> F64:
        return np.maximum(x, 0)

    def leaky_relu(self, x: F64, slope: float = 0.01) -> F64:
        return np.where(x > 0, x, slope * x)

    def elu(self, x: F64) -> F64:
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def erf(self, x: F64) -> F64:
        return np.reshape([math.erf(value) for value in np.ravel(x)], np.shape(x))

    def gelu(self, x: F64, *, exact: bool = False) -> F64:
        if exact:
            return np.asarray(0.5 * x * (1 + self.erf(x / math.sqrt(2))))
        return np.asarray(0.5 * x * (1 + np.tanh(_GELU_FACTOR * (x + 0.044715 * x**3))))

    def sigmoid(self, x: F64) -> F64:
        e = np.exp(-np.abs(x))
        return np.asarray(np.where(x >= 0, 1, e) / (1 + e))

    def silu(self, x: F64) -> F64:
        return x * self.sigmoid(x)

    def softplus(self, x: F64) -> F64:
        return np.logaddexp(0, x)

    def log_softmax(self, x: F64, axis: int = -1) -> F64:
        return x - np.logaddexp.reduce(x, axis=axis, keepdims=True)

    def softmax(self, x: F64, axis: int = -1) -> F64:
        return np.exp(self.log_softmax(x, axis))
