"""Oracle and cases of :mod:`hal.tensor.ops.layers`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]


CASES = [
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

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("linear", ((2, 3), (4, 5)), {}, "must be (..., in) and (in, out)"),
    ("linear", ((2, 3), (3,)), {}, "must be (..., in) and (in, out)"),
    ("embedding", ((4, 5, 6), (2,)), {}, "must be (entries, features)"),
)


class Oracle(Functions):
    """Products with parameters, rows of a table."""

    def linear(self, x: F64, kernel: F64, bias: F64 | None = None) -> F64:
        y: F64 = np.einsum("...i,io->...o", x, kernel)
        return y if bias is None else y + bias

    def embedding(self, table: F64, ids: NDArray[Any]) -> F64:
        return np.asarray(table[ids])
