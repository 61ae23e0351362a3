"""Ops in terms of the Array API standard alone: right on any backend, fast on none.

Each takes the backend's ops first, so that what it calls may in turn be the vendor's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from hal.tensor.shapes import Pads, conv_output
from hal.types import Array, Tree

if TYPE_CHECKING:
    from hal.tensor.ops import Ops

__all__ = [
    "attention",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "conv2d_transpose",
    "gru",
    "layer_norm",
    "lstm",
    "max_pool2d",
    "normal",
    "rnn",
    "scan",
    "translate2d",
    "uniform",
]

Pair = tuple[int, int]


def scan(ops: Ops, fn: Callable[[Tree, Tree], tuple[Tree, Array]], init: Tree, xs: Array) -> tuple[Tree, Array]:
    """A Python loop over the first axis."""
    carry, ys = init, []
    for x in ops.standard.unstack(xs, axis=0):
        carry, y = fn(carry, x)
        ys.append(y)
    return carry, ops.standard.stack(ys, axis=0)


def _host_generator(key: Any) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key.seed))


def uniform(ops: Ops, key: Any, shape: tuple[int, ...], like: Array) -> Array:
    """Drawn by NumPy on the host."""
    drawn = key.drawn(lambda whole: _host_generator(key).random(whole, dtype=np.float32), shape)
    return ops.cast(ops.standard.asarray(drawn, **ops._placed(like)), like.dtype)


def normal(ops: Ops, key: Any, shape: tuple[int, ...], like: Array) -> Array:
    """Drawn by NumPy on the host."""
    drawn = key.drawn(lambda whole: _host_generator(key).standard_normal(whole, dtype=np.float32), shape)
    return ops.cast(ops.standard.asarray(drawn, **ops._placed(like)), like.dtype)


def pad_image(ops: Ops, x: Array, pads: Pads, value: float = 0.0) -> Array:
    """Append rows and columns of one value to (batch, height, width, channels)."""
    for axis, (before, after) in zip((1, 2), pads, strict=True):
        parts = [x]
        for count, at in ((before, 0), (after, None)):
            if count:
                edge = (*x.shape[:axis], count, *x.shape[axis + 1 :])
                filler = ops.filled(edge, value, like=x)
                parts = [filler, *parts] if at == 0 else [*parts, filler]
        x = ops.standard.concat(parts, axis=axis) if len(parts) > 1 else x
    return x


def windows(ops: Ops, x: Array, window: Pair, strides: Pair, dilation: Pair) -> list[Array]:
    """One strided slice of a padded image for each element of the window, row by row."""
    height, width = conv_output(x.shape[1:3], window, strides, ((0, 0), (0, 0)), dilation)
    slices = []
    for row in range(window[0]):
        for column in range(window[1]):
            top, left = row * dilation[0], column * dilation[1]
            slices.append(
                x[
                    :,
                    top : top + (height - 1) * strides[0] + 1 : strides[0],
                    left : left + (width - 1) * strides[1] + 1 : strides[1],
                    :,
                ]
            )
    return slices


def conv2d(
    ops: Ops, x: Array, kernel: Array, bias: Array | None, strides: Pair, pads: Pads, dilation: Pair, groups: int
) -> Array:
    """Shifted slices side by side, times the kernel as one matrix for each group."""
    xp = ops.standard
    h, w, c_in, c_out = kernel.shape
    slices = windows(ops, pad_image(ops, x, pads), (h, w), strides, dilation)
    parts = []
    for group in range(groups):
        patches = xp.concat([s[..., group * c_in : (group + 1) * c_in] for s in slices], axis=-1)
        out = c_out // groups
        matrix = xp.reshape(kernel[..., group * out : (group + 1) * out], (h * w * c_in, out))
        parts.append(xp.matmul(patches, matrix))
    y = parts[0] if groups == 1 else xp.concat(parts, axis=-1)
    return y if bias is None else y + bias


def conv2d_transpose(
    ops: Ops, x: Array, kernel: Array, bias: Array | None, strides: Pair, crop: Pads, append: Pads
) -> Array:
    """Zeros between the pixels, then a convolution with the flipped kernel."""
    xp = ops.standard
    n, height, width, channels = x.shape
    (sh, sw), (kh, kw) = strides, kernel.shape[:2]
    spread = xp.reshape(x, (n, height, 1, width, 1, channels))
    spread = _append_zeros(ops, _append_zeros(ops, spread, 2, sh - 1), 4, sw - 1)
    spread = xp.reshape(spread, (n, height * sh, width * sw, channels))
    spread = spread[:, : (height - 1) * sh + 1, : (width - 1) * sw + 1, :]
    full = pad_image(ops, spread, ((kh - 1, kh - 1), (kw - 1, kw - 1)))
    y = ops._conv2d(full, xp.flip(kernel, axis=(0, 1)), None, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    (top, bottom), (left, right) = crop
    y = pad_image(ops, y[:, top : y.shape[1] - bottom, left : y.shape[2] - right, :], append)
    return y if bias is None else y + bias


def _append_zeros(ops: Ops, x: Array, axis: int, count: int) -> Array:
    if count == 0:
        return x
    edge = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return ops.standard.concat([x, ops.zeros_as(edge, like=x)], axis=axis)


def max_pool2d(ops: Ops, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
    """The maximum over shifted slices."""
    padded = pad_image(ops, x, pads, value=-float("inf"))
    return ops.standard.max(ops.standard.stack(windows(ops, padded, window, strides, (1, 1)), axis=0), axis=0)


def avg_pool2d(ops: Ops, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
    """The sum over shifted slices, over the count of values inside the image."""
    xp = ops.standard
    total = xp.sum(xp.stack(windows(ops, pad_image(ops, x, pads), window, strides, (1, 1)), axis=0), axis=0)
    ones = pad_image(ops, ops.filled((1, x.shape[1], x.shape[2], 1), 1.0, like=x), pads)
    count = xp.sum(xp.stack(windows(ops, ones, window, strides, (1, 1)), axis=0), axis=0)
    return total / count


def translate2d(ops: Ops, x: Array, rows: Array, columns: Array) -> Array:
    """One gather of whole pixels: on a CPU several times faster than one along each axis."""
    xp = ops.standard
    batch, height, width, channels = x.shape
    row, row_inside = _origin(ops, x, rows, height)
    column, column_inside = _origin(ops, x, columns, width)
    first = xp.reshape(ops.positions(batch, like=x) * (height * width), (batch, 1, 1))
    pixel = first + xp.expand_dims(row, axis=2) * width + xp.expand_dims(column, axis=1)
    moved = xp.reshape(xp.take(xp.reshape(x, (-1, channels)), xp.reshape(pixel, (-1,)), axis=0), tuple(x.shape))
    inside = xp.logical_and(xp.expand_dims(row_inside, axis=2), xp.expand_dims(column_inside, axis=1))
    return xp.where(xp.expand_dims(inside, axis=3), moved, ops.zeros_as(x.shape, like=x))


def _origin(ops: Ops, x: Array, moves: Array, size: int) -> tuple[Array, Array]:
    """Where each pixel along an axis comes from, integers (batch, size), and whether that is inside the image."""
    origin = ops.positions(size, like=x) - ops.standard.expand_dims(moves, axis=1)
    kept = ops.standard.clip(origin, 0, size - 1)
    return kept, origin == kept


def batch_norm(
    ops: Ops,
    x: Array,
    scale: Array,
    offset: Array,
    mean: Array,
    variance: Array,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Statistics in the dtype of scale."""
    xp = ops.standard
    wide = ops.cast(x, scale.dtype)
    if training:
        axes = tuple(range(len(x.shape) - 1))
        count = 1
        for axis in axes:
            count *= x.shape[axis]
        batch_mean = xp.mean(wide, axis=axes)
        batch_variance = xp.mean(xp.square(wide - batch_mean), axis=axes)
        unbiased = batch_variance * (count / max(count - 1, 1))
        next_mean = momentum * mean + (1 - momentum) * ops.stop_gradient(batch_mean)
        next_variance = momentum * variance + (1 - momentum) * ops.stop_gradient(unbiased)
    else:
        batch_mean, batch_variance, next_mean, next_variance = mean, variance, mean, variance
    y = (wide - batch_mean) * (scale / xp.sqrt(batch_variance + epsilon)) + offset
    return ops.cast(y, x.dtype), next_mean, next_variance


def layer_norm(ops: Ops, x: Array, scale: Array, offset: Array, epsilon: float) -> Array:
    """Statistics in the dtype of scale."""
    xp = ops.standard
    wide = ops.cast(x, scale.dtype)
    centred = wide - xp.mean(wide, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    return ops.cast(centred / xp.sqrt(variance + epsilon) * scale + offset, x.dtype)


def attention(ops: Ops, query: Array, key: Array, value: Array, mask: Array | None, causal: bool) -> Array:
    """The whole matrix of weights."""
    xp = ops.standard
    scores = xp.matmul(query, xp.matrix_transpose(key)) / query.shape[-1] ** 0.5
    if causal:
        steps, sources = scores.shape[-2:]
        place = ops._placed(query)
        mask = xp.expand_dims(xp.arange(steps, **place), axis=1) >= xp.expand_dims(xp.arange(sources, **place), axis=0)
    if mask is not None:
        scores = xp.where(mask, scores, ops.filled(scores.shape, -float("inf"), like=scores))
    return xp.matmul(ops.softmax(scores), value)


def rnn(
    ops: Ops, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, activation: str
) -> tuple[Array, Array]:
    """Input projection at once, then a scan."""
    xp = ops.standard
    act = xp.tanh if activation == "tanh" else ops.relu

    def step(h: Array, projected: Array) -> tuple[Array, Array]:
        h = act(projected + xp.matmul(h, recurrent))
        return h, h

    h, ys = ops.scan(step, state, _time_first(ops, ops._linear(x, kernel, bias)))
    return _time_first(ops, ys), h


def lstm(
    ops: Ops, x: Array, state: tuple[Array, Array], kernel: Array, recurrent: Array, bias: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Input projection at once, then a scan."""
    xp, units = ops.standard, recurrent.shape[0]

    def step(carry: Tree, projected: Array) -> tuple[Tree, Array]:
        h, c = carry
        gates = projected + xp.matmul(h, recurrent)
        i, f = ops.sigmoid(gates[:, :units]), ops.sigmoid(gates[:, units : 2 * units])
        g, o = xp.tanh(gates[:, 2 * units : 3 * units]), ops.sigmoid(gates[:, 3 * units :])
        c = f * c + i * g
        h = o * xp.tanh(c)
        return (h, c), h

    last, ys = ops.scan(step, state, _time_first(ops, ops._linear(x, kernel, bias)))
    return _time_first(ops, ys), last


def gru(
    ops: Ops, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array
) -> tuple[Array, Array]:
    """Input projection at once, then a scan."""
    xp, units = ops.standard, recurrent.shape[0]

    def step(h: Array, projected: Array) -> tuple[Array, Array]:
        inner = xp.matmul(h, recurrent) + recurrent_bias
        r = ops.sigmoid(projected[:, :units] + inner[:, :units])
        z = ops.sigmoid(projected[:, units : 2 * units] + inner[:, units : 2 * units])
        n = xp.tanh(projected[:, 2 * units :] + r * inner[:, 2 * units :])
        h = (1 - z) * n + z * h
        return h, h

    h, ys = ops.scan(step, state, _time_first(ops, ops._linear(x, kernel, bias)))
    return _time_first(ops, ys), h


def _time_first(ops: Ops, x: Array) -> Array:
    return ops.standard.permute_dims(x, (1, 0, 2))
