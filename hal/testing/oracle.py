"""The neutral API in float64 NumPy, from its definitions by plain loops: slow, obvious and independent of any backend.

A name that is not defined here is NumPy's own, which follows the Array API standard; see :class:`Oracle`.
"""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.Ops, with the same arguments
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Oracle", "numeric_gradient"]

F64 = NDArray[np.float64]
Size = int | tuple[int, int]
_GELU_FACTOR = math.sqrt(2 / math.pi)


def _two(value: Size) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _padding(padding: Any, size: Size, reach: tuple[int, int], strides: tuple[int, int]) -> Any:
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding != "same":
        return padding
    pads = []
    for n, r, s in zip(_two(size), reach, strides, strict=True):
        outputs = math.ceil(n / s)
        missing = max(0, (outputs - 1) * s + r - n)
        pads.append((missing // 2, math.ceil(missing / 2)))
    return tuple(pads)


def _positions(n: int, reach: int, stride: int) -> Iterator[tuple[int, int]]:
    return enumerate(range(0, n - reach + 1, stride))


class Oracle:
    """A namespace with the functions of :class:`hal.tensor.Ops` on float64 arrays."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    # Activations

    def relu(self, x: F64) -> F64:
        return np.maximum(x, 0)

    def leaky_relu(self, x: F64, slope: float = 0.01) -> F64:
        return np.where(x > 0, x, slope * x)

    def elu(self, x: F64) -> F64:
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def gelu(self, x: F64) -> F64:
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

    # Layers' arithmetic

    def stop_gradient(self, x: F64) -> F64:
        return x

    def linear(self, x: F64, kernel: F64, bias: F64 | None = None) -> F64:
        y: F64 = np.einsum("...i,io->...o", x, kernel)
        return y if bias is None else y + bias

    def embedding(self, table: F64, ids: NDArray[Any]) -> F64:
        return np.asarray(table[ids])

    def conv2d(
        self,
        x: F64,
        kernel: F64,
        bias: F64 | None = None,
        *,
        strides: Size = 1,
        padding: Any = "same",
        dilation: Size = 1,
        groups: int = 1,
    ) -> F64:
        (sh, sw), (dh, dw) = _two(strides), _two(dilation)
        kh, kw, c_in, c_out = kernel.shape
        reach = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
        pads = _padding(padding, x.shape[1:3], reach, (sh, sw))
        image = np.pad(x, ((0, 0), *pads, (0, 0)))
        rows, columns = [1 + (n - r) // s for n, r, s in zip(image.shape[1:3], reach, (sh, sw), strict=True)]
        y = np.zeros((x.shape[0], rows, columns, c_out))
        share = c_out // groups
        for i, top in _positions(image.shape[1], reach[0], sh):
            for j, left in _positions(image.shape[2], reach[1], sw):
                window = image[:, top : top + reach[0] : dh, left : left + reach[1] : dw, :]
                for g in range(groups):
                    outs = slice(g * share, (g + 1) * share)
                    part = window[..., g * c_in : (g + 1) * c_in]
                    y[:, i, j, outs] = np.tensordot(part, kernel[..., outs], axes=3)
        return y if bias is None else y + bias

    def conv2d_transpose(
        self, x: F64, kernel: F64, bias: F64 | None = None, *, strides: Size = 1, padding: str = "same"
    ) -> F64:
        """Each pixel adds its multiple of the kernel to the place that it came from."""
        (sh, sw), (kh, kw) = _two(strides), kernel.shape[:2]
        n, height, width, _ = x.shape
        full = np.zeros((n, height * sh + max(kh - sh, 0), width * sw + max(kw - sw, 0), kernel.shape[3]))
        for i in range(height):
            for j in range(width):
                full[:, i * sh : i * sh + kh, j * sw : j * sw + kw, :] += np.einsum("ni,hwio->nhwo", x[:, i, j], kernel)
        if padding == "same":
            top, left = max(kh - sh, 0) // 2, max(kw - sw, 0) // 2
            full = full[:, top : top + height * sh, left : left + width * sw, :]
        return full if bias is None else full + bias

    def max_pool2d(self, x: F64, window: Size = 2, *, strides: Size | None = None, padding: Any = "valid") -> F64:
        return self._pool(np.nanmax, x, window, strides, padding)

    def avg_pool2d(self, x: F64, window: Size = 2, *, strides: Size | None = None, padding: Any = "valid") -> F64:
        return self._pool(np.nanmean, x, window, strides, padding)

    def translate2d(self, x: F64, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]]) -> F64:
        y = np.zeros_like(x)
        for n, i, j in np.ndindex(*x.shape[:3]):
            row, column = i + rows[n], j + columns[n]
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                y[n, row, column] = x[n, i, j]
        return y

    @staticmethod
    def _pool(reduce: Callable[..., F64], x: F64, window: Size, strides: Size | None, padding: Any) -> F64:
        size, step = _two(window), _two(window if strides is None else strides)
        pads = _padding(padding, x.shape[1:3], size, step)
        image = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=np.nan)
        rows = []
        for _, top in _positions(image.shape[1], size[0], step[0]):
            row = [
                reduce(image[:, top : top + size[0], left : left + size[1], :], axis=(1, 2))
                for _, left in _positions(image.shape[2], size[1], step[1])
            ]
            rows.append(np.stack(row, axis=1))
        return np.stack(rows, axis=1)

    def batch_norm(
        self,
        x: F64,
        scale: F64,
        offset: F64,
        mean: F64,
        variance: F64,
        *,
        training: bool,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
    ) -> tuple[F64, F64, F64]:
        use_mean, use_variance, next_mean, next_variance = mean, variance, mean, variance
        if training:
            rows = x.reshape(-1, x.shape[-1])
            use_mean, use_variance = rows.mean(axis=0), rows.var(axis=0)
            unbiased = use_variance if len(rows) == 1 else rows.var(axis=0, ddof=1)
            next_mean = momentum * mean + (1 - momentum) * use_mean
            next_variance = momentum * variance + (1 - momentum) * unbiased
        y = scale * (x - use_mean) / np.sqrt(use_variance + epsilon) + offset
        return y, next_mean, next_variance

    def layer_norm(self, x: F64, scale: F64, offset: F64, *, epsilon: float = 1e-5) -> F64:
        deviation = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
        return np.asarray(scale * (x - x.mean(axis=-1, keepdims=True)) / deviation + offset)

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

    # Recurrence

    def scan(self, fn: Callable[[Any, Any], tuple[Any, F64]], init: Any, xs: F64) -> tuple[Any, F64]:
        carry, ys = init, []
        for x in xs:
            carry, y = fn(carry, x)
            ys.append(y)
        return carry, np.stack(ys)

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

    # Losses

    def cross_entropy(self, logits: F64, labels: NDArray[Any]) -> F64:
        log_p = self.log_softmax(logits)
        return -np.take_along_axis(log_p, labels[..., None].astype(np.int64), axis=-1)[..., 0]

    def sigmoid_cross_entropy(self, logits: F64, labels: F64) -> F64:
        return labels * np.logaddexp(0, -logits) + (1 - labels) * np.logaddexp(0, logits)

    def squared_error(self, prediction: F64, target: F64) -> F64:
        return np.square(prediction - target)


def numeric_gradient(fn: Callable[[F64], float], x: F64, directions: list[F64], step: float = 1e-5) -> F64:
    """Derivatives of a function at x along directions, by central differences."""
    slopes = [(fn(x + step * d) - fn(x - step * d)) / (2 * step) for d in directions]
    return np.asarray(slopes, np.float64)
