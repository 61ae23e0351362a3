"""Oracle and cases of :mod:`hal.tensor.ops.images`, and what those of convolution and pooling share."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle", "Size", "pads_of", "starts", "two"]

Size = int | tuple[int, int]

CASES = [
    Case("translate2d", label, (floats(*shape), np.array(rows, dtype), np.array(columns, dtype)), axes=("NHWC",))
    for label, shape, rows, columns, dtype in (
        ("both-ways", (4, 5, 6, 2), (0, 1, -2, 3), (0, -1, 2, 5), np.int64),
        ("outside", (3, 4, 3, 1), (4, -9, 0), (0, 0, 7), np.int64),
        ("int32", (2, 3, 4, 3), (1, -1), (-1, 2), np.int32),
        ("one-pixel", (2, 1, 1, 2), (0, 1), (0, 0), np.int64),
        ("empty-batch", (0, 4, 4, 1), (), (), np.int64),
    )
]

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("translate2d", ((2, 5, 5), (2,), (2,)), {}, "x must be (batch, height, width, channels)"),
    ("translate2d", ((2, 5, 5, 3), (2,), (3,)), {}, "columns of shape (3,)"),
)


def two(value: Size) -> tuple[int, int]:
    """The same number for both axes, or the two that are given."""
    return (value, value) if isinstance(value, int) else value


def pads_of(padding: Any, size: Size, reach: tuple[int, int], strides: tuple[int, int]) -> Any:
    """Padding in numbers: ``same`` gives ceil(size / stride) outputs, with the odd row at the end."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding != "same":
        return padding
    pads = []
    for n, r, s in zip(two(size), reach, strides, strict=True):
        outputs = math.ceil(n / s)
        missing = max(0, (outputs - 1) * s + r - n)
        pads.append((missing // 2, math.ceil(missing / 2)))
    return tuple(pads)


def starts(n: int, reach: int, stride: int) -> Iterator[tuple[int, int]]:
    """The places of windows along an axis, with their first row."""
    return enumerate(range(0, n - reach + 1, stride))


class Oracle(Functions):
    """Images moved by plain loops."""

    def translate2d(self, x: F64, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]]) -> F64:
        y = np.zeros_like(x)
        for n, i, j in np.ndindex(*x.shape[:3]):
            row, column = i + rows[n], j + columns[n]
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                y[n, row, column] = x[n, i, j]
        return y
