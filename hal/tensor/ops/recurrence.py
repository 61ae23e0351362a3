"""Recurrent networks over a sequence (batch, time, features)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hal.errors import ShapeError
from hal.tensor.ops.activations import Activations
from hal.tensor.ops.layers import Layers
from hal.types import Array, Tree

__all__ = ["Recurrence"]


class Recurrence(Layers, Activations):
    """By default the input is projected at once and a scan runs over time; libraries fuse the whole loop."""

    def rnn(
        self,
        x: Array,
        state: Array | None,
        kernel: Array,
        recurrent: Array,
        bias: Array,
        *,
        activation: Literal["tanh", "relu"] = "tanh",
    ) -> tuple[Array, Array]:
        """``h' = activation(x @ kernel + h @ recurrent + bias)`` along time (Elman, 1990).

        Args:
            x: (batch, time, features).
            state: h before the first step, (batch, units); None: zeros.
            kernel: (features, units).
            recurrent: (units, units).
            bias: (units,).
            activation: ``tanh`` or ``relu``.

        Returns:
            h at each step (batch, time, units), and the last.

        Raises:
            ShapeError: the shapes do not fit each other, or there is no step.
            UnsupportedError: the arrays are not of one dtype.
        """
        _check("rnn", x, (state,), kernel, recurrent, (bias,), gates=1)
        given = (("state", state), ("kernel", kernel), ("recurrent", recurrent), ("bias", bias))
        self._check_dtypes("rnn", x, given)
        return self._rnn(x, self._initial(x, state, recurrent), kernel, recurrent, bias, activation)

    def _rnn(
        self, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, activation: str
    ) -> tuple[Array, Array]:
        xp = self.standard
        act = xp.tanh if activation == "tanh" else self.relu

        def step(h: Array, projected: Array) -> tuple[Array, Array]:
            h = act(projected + xp.matmul(h, recurrent))
            return h, h

        h, ys = self.scan(step, state, self._time_first(self._linear(x, kernel, bias)))
        return self._time_first(ys), h

    def lstm(
        self, x: Array, state: tuple[Array, Array] | None, kernel: Array, recurrent: Array, bias: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order input, forget, cell, output.

        i, f, g, o = x @ kernel + h @ recurrent + bias;  c' = sigmoid(f) * c + sigmoid(i) * tanh(g);
        h' = sigmoid(o) * tanh(c').

        Args:
            x: (batch, time, features).
            state: (h, c) before the first step, each (batch, units); None: zeros.
            kernel: (features, 4 * units).
            recurrent: (units, 4 * units).
            bias: (4 * units,).

        Returns:
            h at each step (batch, time, units), and the last (h, c).

        Raises:
            ShapeError: the shapes do not fit each other, or there is no step.
            UnsupportedError: the arrays are not of one dtype.
        """
        h, c = (None, None) if state is None else state
        _check("lstm", x, (h, c), kernel, recurrent, (bias,), gates=4)
        given = (("h", h), ("c", c), ("kernel", kernel), ("recurrent", recurrent), ("bias", bias))
        self._check_dtypes("lstm", x, given)
        first = (self._initial(x, h, recurrent), self._initial(x, c, recurrent))
        return self._lstm(x, first, kernel, recurrent, bias)

    def _lstm(
        self, x: Array, state: tuple[Array, Array], kernel: Array, recurrent: Array, bias: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        xp, units = self.standard, recurrent.shape[0]

        def step(carry: Tree, projected: Array) -> tuple[Tree, Array]:
            h, c = carry
            gates = projected + xp.matmul(h, recurrent)
            i, f = self.sigmoid(gates[:, :units]), self.sigmoid(gates[:, units : 2 * units])
            g, o = xp.tanh(gates[:, 2 * units : 3 * units]), self.sigmoid(gates[:, 3 * units :])
            c = f * c + i * g
            h = o * xp.tanh(c)
            return (h, c), h

        last, ys = self.scan(step, state, self._time_first(self._linear(x, kernel, bias)))
        return self._time_first(ys), last

    def gru(
        self, x: Array, state: Array | None, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array
    ) -> tuple[Array, Array]:
        """Gated recurrent unit (Cho et al., arXiv 1406.1078) as cuDNN computes it: gates reset, update, new.

        r, z = sigmoid(x_rz + h_rz);  n = tanh(x_n + r * h_n);  h' = (1 - z) * n + z * h, where x_ and h_ are the parts
        of x @ kernel + bias and h @ recurrent + recurrent_bias.

        Args:
            x: (batch, time, features).
            state: h before the first step, (batch, units); None: zeros.
            kernel: (features, 3 * units).
            recurrent: (units, 3 * units).
            bias: (3 * units,).
            recurrent_bias: (3 * units,).

        Returns:
            h at each step (batch, time, units), and the last.

        Raises:
            ShapeError: the shapes do not fit each other, or there is no step.
            UnsupportedError: the arrays are not of one dtype.
        """
        _check("gru", x, (state,), kernel, recurrent, (bias, recurrent_bias), gates=3)
        given = (
            ("state", state),
            ("kernel", kernel),
            ("recurrent", recurrent),
            ("bias", bias),
            ("recurrent_bias", recurrent_bias),
        )
        self._check_dtypes("gru", x, given)
        return self._gru(x, self._initial(x, state, recurrent), kernel, recurrent, bias, recurrent_bias)

    def _gru(
        self, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array
    ) -> tuple[Array, Array]:
        xp, units = self.standard, recurrent.shape[0]

        def step(h: Array, projected: Array) -> tuple[Array, Array]:
            inner = xp.matmul(h, recurrent) + recurrent_bias
            r = self.sigmoid(projected[:, :units] + inner[:, :units])
            z = self.sigmoid(projected[:, units : 2 * units] + inner[:, units : 2 * units])
            n = xp.tanh(projected[:, 2 * units :] + r * inner[:, 2 * units :])
            h = (1 - z) * n + z * h
            return h, h

        h, ys = self.scan(step, state, self._time_first(self._linear(x, kernel, bias)))
        return self._time_first(ys), h

    def _initial(self, x: Array, state: Array | None, recurrent: Array) -> Array:
        return self.zeros_as((x.shape[0], recurrent.shape[0]), like=x) if state is None else state

    def _time_first(self, x: Array) -> Array:
        return self.standard.permute_dims(x, (1, 0, 2))


def _check(
    op: str,
    x: Array,
    states: Sequence[Array | None],
    kernel: Array,
    recurrent: Array,
    biases: Sequence[Array],
    *,
    gates: int,
) -> None:
    if len(x.shape) != 3 or x.shape[1] == 0:
        raise ShapeError(
            f"{op} was given x of shape {tuple(x.shape)}, but x must be (batch, time, features) with at least one step"
        )
    units = recurrent.shape[0]
    if tuple(kernel.shape) != (x.shape[2], gates * units) or recurrent.shape[1] != gates * units:
        wide = f"{gates} * units" if gates > 1 else "units"
        raise ShapeError(
            f"{op} was given kernel {tuple(kernel.shape)} and recurrent {tuple(recurrent.shape)}, but these must be "
            f"({x.shape[2]}, {wide}) and (units, {wide})"
        )
    for bias in biases:
        if tuple(bias.shape) != (gates * units,):
            raise ShapeError(
                f"{op} was given a bias of shape {tuple(bias.shape)}, but a bias must be ({gates * units},)"
            )
    for state in states:
        if state is not None and tuple(state.shape) != (x.shape[0], units):
            raise ShapeError(
                f"{op} was given an initial state of shape {tuple(state.shape)}, but it must be ({x.shape[0]}, {units})"
            )
