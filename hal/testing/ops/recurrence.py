"""Oracle and cases of :mod:`hal.tensor.ops.recurrence`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]


def _recurrent(op: str, gates: int, label: str, *, state: bool, batch: int = 2, time: int = 4, **kwargs: Any) -> Case:
    features, units = 3, 2
    h = floats(batch, units, spread=0.5)
    first: Any = (h, floats(batch, units, spread=0.5)) if op == "lstm" else h
    weights = [floats(features, gates * units, spread=0.5), floats(units, gates * units, spread=0.5)]
    biases = [floats(gates * units, spread=0.5) for _ in range(2 if op == "gru" else 1)]
    args = (floats(batch, time, features, spread=0.5), first if state else None, *weights, *biases)
    return Case(op, label, args, kwargs, axes=("", "", "IO", "IO"))


CASES = [
    _recurrent(op, gates, label, state=state, **options)
    for op, gates in (("rnn", 1), ("lstm", 4), ("gru", 3))
    for label, state, options in (
        ("zero-state", False, {}),
        ("state", True, {}),
        ("one-step", True, {"time": 1}),
        ("one-sample", False, {"batch": 1}),
    )
] + [_recurrent("rnn", 1, "relu", state=True, activation="relu")]

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("rnn", ((2, 3), None, (3, 2), (2, 2), (2,)), {}, "must be (batch, time, features)"),
    ("rnn", ((2, 0, 3), None, (3, 2), (2, 2), (2,)), {}, "at least one step"),
    ("lstm", ((2, 4, 3), None, (3, 2), (2, 8), (8,)), {}, "must be (3, 4 * units)"),
    ("gru", ((2, 4, 3), None, (3, 6), (2, 8), (6,), (6,)), {}, "(units, 3 * units)"),
)


class Oracle(Functions):
    """Loops over time."""

    def rnn(
        self, x: F64, state: F64 | None, kernel: F64, recurrent: F64, bias: F64, *, activation: str = "tanh"
    ) -> tuple[F64, F64]:
        h = np.zeros((x.shape[0], recurrent.shape[0])) if state is None else state
        act: Callable[[F64], F64] = np.tanh if activation == "tanh" else self.relu
        ys = []
        for t in range(x.shape[1]):
            h = act(x[:, t] @ kernel + h @ recurrent + bias)
            ys.append(h)
        return np.stack(ys, axis=1), h

    def lstm(
        self, x: F64, state: tuple[F64, F64] | None, kernel: F64, recurrent: F64, bias: F64
    ) -> tuple[F64, tuple[F64, F64]]:
        zeros = np.zeros((x.shape[0], recurrent.shape[0]))
        h, c = (zeros, zeros) if state is None else state
        ys = []
        for t in range(x.shape[1]):
            i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
            c = self.sigmoid(f) * c + self.sigmoid(i) * np.tanh(g)
            h = self.sigmoid(o) * np.tanh(c)
            ys.append(h)
        return np.stack(ys, axis=1), (h, c)

    def gru(
        self, x: F64, state: F64 | None, kernel: F64, recurrent: F64, bias: F64, recurrent_bias: F64
    ) -> tuple[F64, F64]:
        h = np.zeros((x.shape[0], recurrent.shape[0])) if state is None else state
        ys = []
        for t in range(x.shape[1]):
            x_r, x_z, x_n = np.split(x[:, t] @ kernel + bias, 3, axis=1)
            h_r, h_z, h_n = np.split(h @ recurrent + recurrent_bias, 3, axis=1)
            z = self.sigmoid(x_z + h_z)
            h = (1 - z) * np.tanh(x_n + self.sigmoid(x_r + h_r) * h_n) + z * h
            ys.append(h)
        return np.stack(ys, axis=1), h
