"""Oracle and cases of :mod:`hal.tensor.ops.layers`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]


def _attention(label: str, time: int, source: int, **kwargs: Any) -> Case:
    shapes = ((2, 2, time, 3), (2, 2, source, 3), (2, 2, source, 4))
    return Case("attention", label, tuple(floats(*shape, spread=0.5) for shape in shapes), kwargs)


def _mask(*shape: int) -> np.ndarray:
    mask = np.asarray(np.random.default_rng(7).random(shape) > 0.4)
    mask[..., 0] = True  # every query may look somewhere
    return mask


_LAYERS = [
    Case("linear", "matrix", (floats(3, 4), floats(4, 5), floats(5)), axes=("", "IO")),
    Case("linear", "without-bias", (floats(3, 4), floats(4, 5)), axes=("", "IO")),
    Case("linear", "sequence", (floats(2, 3, 4), floats(4, 2), floats(2)), axes=("", "IO")),
    Case("linear", "vector", (floats(4), floats(4, 2), floats(2)), axes=("", "IO")),
    Case("linear", "one", (floats(1, 1), floats(1, 1), floats(1)), axes=("", "IO")),
    Case("linear", "empty-batch", (floats(0, 4), floats(4, 2), floats(2)), axes=("", "IO")),
    Case("embedding", "sequence", (floats(5, 3), np.array([[0, 4, 4], [2, 0, 1]], np.int64))),
    Case("embedding", "int32", (floats(5, 3), np.array([3, 3, 3], np.int32))),
    Case("embedding", "scalar", (floats(5, 3), np.array(2, np.int64))),
    Case("embedding", "empty", (floats(5, 3), np.zeros((0, 2), np.int64))),
]

_ATTENTION = [
    _attention("full", 3, 5),
    _attention("causal", 4, 4, causal=True),
    _attention("causal-longer-source", 3, 5, causal=True),
    _attention("mask", 3, 5, mask=_mask(2, 2, 3, 5)),
    _attention("mask-broadcast", 3, 5, mask=_mask(2, 1, 1, 5)),
    _attention("one-step", 1, 1),
]

CASES = _LAYERS + _ATTENTION

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("linear", ((2, 3), (4, 5)), {}, "must be (..., in) and (in, out)"),
    ("linear", ((2, 3), (3,)), {}, "must be (..., in) and (in, out)"),
    ("embedding", ((4, 5, 6), (2,)), {}, "must be (entries, features)"),
    ("attention", ((1, 1, 2, 3), (1, 1, 2, 4), (1, 1, 2, 3)), {}, "must have equal features"),
)


class Oracle(Functions):
    """Products with parameters, rows of a table, attention."""

    def linear(self, x: F64, kernel: F64, bias: F64 | None = None) -> F64:
        y: F64 = np.einsum("...i,io->...o", x, kernel)
        return y if bias is None else y + bias

    def embedding(self, table: F64, ids: NDArray[Any]) -> F64:
        return np.asarray(table[ids])

    def attention(
        self, query: F64, key: F64, value: F64, *, mask: NDArray[Any] | None = None, causal: bool = False
    ) -> F64:
        scores = np.einsum("bhtf,bhsf->bhts", query, key) / math.sqrt(query.shape[-1])
        for t in range(scores.shape[2]):
            if causal:
                scores[:, :, t, t + 1 :] = -np.inf
        if mask is not None:
            scores = np.where(np.broadcast_to(mask, scores.shape), scores, -np.inf)
        return np.asarray(np.einsum("bhts,bhsf->bhtf", self.softmax(scores), value))
