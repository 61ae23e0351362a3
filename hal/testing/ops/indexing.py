"""Oracle and cases of :mod:`hal.tensor.ops.indexing`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hal.testing.case import Case, Wrong, distinct, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]

_INDEX = np.array([[[3, 0], [1, 2], [3, 2]]], np.int64)  # 3 and 2 are given twice
_ONCE = np.array([[2, 0, 1], [0, 1, 2]], np.int32)
_ROWS, _COLUMNS = np.array([[0], [-1]], np.int64), np.array([1, 3, 1], np.int32)


def _put(label: str, x: tuple[int, ...], indices: tuple[Any, ...], values: tuple[int, ...], **kwargs: Any) -> Case:
    args = (floats(*x), indices, floats(*values))
    return Case("index_put", label, args, kwargs, precisions=("fp32", "bf16") if kwargs else ("fp32",))


def _largest(label: str, x: Any, k: int, *, gradient: Literal[False, "first"] = "first", **kwargs: Any) -> Case:
    # In fp32 alone, since the positions are compared in kind with those of NumPy.
    return Case("topk", label, (x, k), kwargs, result="numpy", gradient=gradient, precisions=("fp32",))


CASES = [
    Case("scatter", "add", (floats(2, 4, 3), 1, _INDEX, floats(1, 3, 2)), {"add": True}, precisions=("fp32", "bf16")),
    Case("scatter", "set", (floats(3, 4), 0, _ONCE, floats(2, 3)), precisions=("fp32",)),
    _put("add", (2, 4, 3), (_ROWS, _COLUMNS), (2, 3, 3), add=True),
    _put("set-apart", (2, 3, 4), (np.array([1, 0]), None, np.array([-1, 2])), (3,)),
    _largest("last", distinct(3, 6), 2),
    _largest("equal", np.array([[2.0, 1], [0, 1], [2, 1], [2, 3]], np.float32), 3, axis=0, gradient=False),
]

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("scatter", ((2, 3), 2, _ONCE, (2, 3)), {}, "axis=2"),
    ("scatter", ((1, 3), 1, _ONCE, (2, 3)), {}, "none longer than that of x but axis 1"),
    ("scatter", ((3, 3), 0, _ONCE, (2, 2)), {}, "must be equal"),
    ("index_put", ((2, 3), (None,), (3,)), {}, "at least one array"),
    ("index_put", ((2, 3), (_ONCE,), (2,)), {}, "must broadcast to (2, 3, 3)"),
    ("index_put", ((2, 3), (_ONCE, np.arange(2)), (3,)), {}, "do not broadcast together"),
    ("topk", ((2, 3), 4), {}, "from 1 to 3"),
    ("topk", ((2, 3), 1), {"axis": 2}, "axis=2"),
)


class Oracle(Functions):
    """One position after the other."""

    def scatter(self, x: F64, axis: int, index: NDArray[Any], source: F64, *, add: bool = False) -> F64:
        y = x.copy()
        for place in np.ndindex(*index.shape):
            to = (*place[:axis], index[place], *place[axis + 1 :])
            y[to] = y[to] + source[place] if add else source[place]
        return y

    def index_put(self, x: F64, indices: Sequence[NDArray[Any] | None], values: F64, *, add: bool = False) -> F64:
        at: Any = tuple(slice(None) if index is None else index for index in indices)
        y = x.copy()
        if add:
            np.add.at(y, at, values)
        else:
            y[at] = values
        return y

    def topk(self, x: F64, k: int, *, axis: int = -1) -> tuple[F64, NDArray[Any]]:
        positions = np.take(np.argsort(-x, axis=axis, stable=True), np.arange(k), axis=axis)
        return np.take_along_axis(x, positions, axis=axis), positions
