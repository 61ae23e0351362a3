"""Recurrent networks: PyTorch's stacked, bidirectional ones as single layers of hal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hal.torch.table.call import Call
from hal.torch.table.entries import op, unsupported
from hal.types import Array

__all__: list[str] = []


def _layers(
    c: Call,
    cell: str,
    x: Array,
    states: Sequence[Array],
    weights: Sequence[Array],
    biased: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Array, list[Array]]:
    """All layers in all directions.

    Args:
        c: the call.
        cell: ``lstm``, ``gru``, ``tanh`` or ``relu``.
        x: (time, batch, features), with the batch first where that is said, or without it.
        states: first states, each (layers * directions, batch, units).
        weights: of each layer and direction: kernel, recurrent and, if there, the two biases, transposed.
        biased: whether there are biases.
        layers: how many.
        dropout: between layers.
        training: whether dropout drops.
        bidirectional: whether each layer also runs backwards in time.
        batch_first: order of the axes of x.

    Returns:
        The sequence that the last layer gives, and the last states.
    """
    single = len(x.shape) == 2
    if single:
        x, states = c.xp.expand_dims(x, axis=0), [c.xp.expand_dims(s, axis=1) for s in states]
    elif not batch_first:
        x = c.xp.permute_dims(x, (1, 0, 2))
    found: list[tuple[Array, ...]] = []
    weight = iter(weights)
    for layer in range(layers):
        outputs = []
        for backwards in (False, True)[: 1 + bidirectional]:
            first = tuple(s[len(found), ...] for s in states)
            kernel, recurrent = (c.xp.matrix_transpose(next(weight)) for _ in range(2))
            empty = c.xp.zeros_as((kernel.shape[1],), like=kernel)
            biases = [next(weight) for _ in range(2)] if biased else [empty, empty]
            steps = c.xp.flip(x, axis=1) if backwards else x
            y, last = _cell(c, cell, steps, first, kernel, recurrent, biases)
            outputs.append(c.xp.flip(y, axis=1) if backwards else y)
            found.append(last)
        x = outputs[0] if len(outputs) == 1 else c.xp.concat(outputs, axis=-1)
        if training and layer < layers - 1:
            x = c.dropout(x, dropout, part=layer)
    ends = [c.xp.stack(list(state), axis=0) for state in zip(*found, strict=True)]
    if single:
        return c.xp.squeeze(x, axis=0), [c.xp.squeeze(end, axis=1) for end in ends]
    return x if batch_first else c.xp.permute_dims(x, (1, 0, 2)), ends


def _cell(
    c: Call,
    cell: str,
    x: Array,
    first: tuple[Array, ...],
    kernel: Array,
    recurrent: Array,
    biases: Sequence[Array],
) -> tuple[Array, tuple[Array, ...]]:
    if cell == "gru":
        y, h = c.xp.gru(x, first[0], kernel, recurrent, *biases)
        return y, (h,)
    bias = c.xp.add(*biases)
    if cell == "lstm":
        y, (h, memory) = c.xp.lstm(x, (first[0], first[1]), kernel, recurrent, bias)
        return y, (h, memory)
    y, h = c.xp.rnn(x, first[0], kernel, recurrent, bias, activation=cell)
    return y, (h,)


@op("lstm.input")
def _lstm(c: Call, x: Array, hx: Sequence[Array], *rest: Any) -> tuple[Array, ...]:
    weights, biased, layers, dropout, training, bidirectional, batch_first = rest
    # A projection would add a fifth weight to each layer and direction.
    if len(weights) != layers * (1 + bidirectional) * (4 if biased else 2):
        return _projected(c, x, hx, *rest)
    y, ends = _layers(c, "lstm", x, hx, weights, biased, layers, dropout, training, bidirectional, batch_first)
    return (y, *ends)


def _projected(c: Call, *_: Any) -> tuple[Array, ...]:
    raise unsupported("an LSTM with proj_size; apply a Linear layer to its output instead")


def _simple(name: str, cell: str) -> None:
    @op(f"{name}.input")
    def entry(c: Call, x: Array, hx: Array, *rest: Any) -> tuple[Array, ...]:
        y, ends = _layers(c, cell, x, (hx,), *rest)
        return (y, *ends)


_simple("gru", "gru")
_simple("rnn_tanh", "tanh")
_simple("rnn_relu", "relu")


def _step(c: Call, x: Array, weights: Sequence[Array | None], h: Array) -> tuple[Array, Array]:
    """What the input and the state add up to, before a cell's activations."""
    w_x, w_h, b_x, b_h = weights
    return c.xp.linear(x, c.xp.matrix_transpose(w_x), b_x), c.xp.linear(h, c.xp.matrix_transpose(w_h), b_h)


def _parts(x: Array, count: int) -> list[Array]:
    size = x.shape[-1] // count
    return [x[..., part * size : (part + 1) * size] for part in range(count)]


@op("lstm_cell")
def _lstm_cell(
    c: Call, x: Array, hx: Sequence[Array], w_ih: Array, w_hh: Array, b_ih: Any = None, b_hh: Any = None
) -> tuple[Array, Array]:
    h, memory = hx
    i, f, g, o = _parts(c.xp.add(*_step(c, x, (w_ih, w_hh, b_ih, b_hh), h)), 4)
    kept, new = c.xp.multiply(c.xp.sigmoid(f), memory), c.xp.multiply(c.xp.sigmoid(i), c.xp.tanh(g))
    memory = c.xp.add(kept, new)
    return c.xp.multiply(c.xp.sigmoid(o), c.xp.tanh(memory)), memory


@op("gru_cell")
def _gru_cell(c: Call, x: Array, h: Array, w_ih: Array, w_hh: Array, b_ih: Any = None, b_hh: Any = None) -> Array:
    given, inner = (_parts(part, 3) for part in _step(c, x, (w_ih, w_hh, b_ih, b_hh), h))
    r, z = (c.xp.sigmoid(c.xp.add(given[at], inner[at])) for at in (0, 1))
    n = c.xp.tanh(c.xp.add(given[2], c.xp.multiply(r, inner[2])))
    return c.xp.add(n, c.xp.multiply(z, c.xp.subtract(h, n)))


def _rnn_cell(name: str) -> None:
    @op(f"rnn_{name}_cell")
    def entry(c: Call, x: Array, h: Array, w_ih: Array, w_hh: Array, b_ih: Any = None, b_hh: Any = None) -> Array:
        return getattr(c.xp, name)(c.xp.add(*_step(c, x, (w_ih, w_hh, b_ih, b_hh), h)))


_rnn_cell("tanh")
_rnn_cell("relu")
