"""The neutral tensor API on OpenCL devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from hal.backends._traced import dtypes
from hal.backends.opencl import primitives as p
from hal.backends.opencl import standard
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.recurrent import in_one_launch
from hal.backends.opencl.convolution import avg_pool, convolve, convolve_transposed, max_pool
from hal.backends.opencl.execution import fetch
from hal.backends.opencl.indexing import flat_positions, indexed
from hal.backends.opencl.recurrence import recurrent
from hal.backends.opencl.standard.manipulation import to_device
from hal.tensor import Ops, register
from hal.tensor.shapes import Pads, Pair

__all__ = ["OpenclOps"]

Array = OpenclArray


class OpenclOps(Ops):
    """Ops on arrays of this backend; for creation bound to a device, otherwise to where the arguments are."""

    fuses: ClassVar[bool] = True

    def __init__(self, device: Any = None) -> None:
        super().__init__(standard, device)

    def _placed(self, like: Array) -> dict[str, Any]:
        return {"device": like.device}

    def _stop_gradient(self, x: Array) -> Array:
        return p.detach(x)

    def _filled(self, shape: tuple[int, ...], value: float, like: Array) -> Array:
        return p.constant(like.runtime, value, like.dtype, shape)

    # Randomness: a key is two words on the device, and Threefry makes numbers of a key and a count

    def _fold_in(self, key: Array, data: int) -> Array:
        words = np.array([data & 0xFFFFFFFF, data >> 32 & 0xFFFFFFFF], np.uint32)
        return self._next(key, p.from_numpy(key.runtime, words))

    def _next(self, key: Array, data: Array) -> Array:
        parts = [p.broadcast(part[i], (2,)) for part in (key, data) for i in (0, 1)]
        which = p.iota(key.runtime, 2, dtypes.uint32)
        return p.mapped("threefry_word", (*parts, which), dtypes.uint32)

    def _split_key(self, key: Array, count: int) -> Sequence[Array]:
        # The second word is one that a folded number only has from 2^62 on, so that these keys differ from folded ones.
        places = p.iota(key.runtime, 2, dtypes.uint32)
        return tuple(
            self._next(key, p.elementwise("where", places == 0, p.constant(key.runtime, i, dtypes.uint32), 0x53706C69))
            for i in range(count)
        )

    def _words(self, key: Array, shape: tuple[int, ...], which: str) -> Array:
        count = math.prod(shape)
        wide = p.iota(key.runtime, count, dtypes.int64)
        low, high = (p.cast(part, dtypes.uint32) for part in (wide & 0xFFFFFFFF, wide >> 32))
        keys = [p.broadcast(p.reshape(key[i], (1,)), (count,)) for i in (0, 1)]
        return p.reshape(p.mapped(f"threefry_{which}", (*keys, low, high), dtypes.uint32), shape)

    def _unit(self, key: Array, shape: tuple[int, ...], which: str) -> Array:
        return p.mapped("unit", (self._words(key, shape, which),), dtypes.float32)

    def _uniform(self, key: Array, shape: tuple[int, ...], like: Array) -> Array:
        return p.cast(self._unit(key, shape, "first"), like.dtype)

    def _normal(self, key: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Box and Muller's transform of two uniform numbers."""
        radius = p.elementwise("sqrt", -2.0 * p.elementwise("log", 1.0 - self._unit(key, shape, "first")))
        return p.cast(radius * p.elementwise("cos", 2 * math.pi * self._unit(key, shape, "second")), like.dtype)

    # Activations

    def _relu(self, x: Array) -> Array:
        return p.mapped("relu", (x,), x.dtype)

    def _sigmoid(self, x: Array) -> Array:
        return p.mapped("sigmoid", (x,), x.dtype)

    # Recurrent layers

    def _rnn(
        self, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, activation: str
    ) -> tuple[Array, Array]:
        if not in_one_launch(x.shape[0], x.runtime.facts):
            return super()._rnn(x, state, kernel, recurrent, bias, activation)
        ys, _ = self._recurrent(activation, x, state, None, kernel, recurrent, bias, None)
        return ys, ys[:, -1, :]

    def _lstm(
        self, x: Array, state: tuple[Array, Array], kernel: Array, recurrent: Array, bias: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        if not in_one_launch(x.shape[0], x.runtime.facts):
            return super()._lstm(x, state, kernel, recurrent, bias)
        ys, c = self._recurrent("lstm", x, *state, kernel, recurrent, bias, None)
        assert c is not None
        return ys, (ys[:, -1, :], c)

    def _gru(
        self, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array
    ) -> tuple[Array, Array]:
        if not in_one_launch(x.shape[0], x.runtime.facts):
            return super()._gru(x, state, kernel, recurrent, bias, recurrent_bias)
        ys, _ = self._recurrent("gru", x, state, None, kernel, recurrent, bias, recurrent_bias)
        return ys, ys[:, -1, :]

    def _recurrent(
        self,
        cell: str,
        x: Array,
        h: Array,
        c: Array | None,
        kernel: Array,
        weights: Array,
        bias: Array,
        inner_bias: Array | None,
    ) -> tuple[Array, Array | None]:
        """All steps in one launch, in fp32 where arrays are fp16."""
        wide = dtypes.float32 if x.dtype == dtypes.float16 else x.dtype
        gates = p.cast(self._time_first(self._linear(x, kernel, bias)), wide)
        before, added = (None if a is None else p.cast(a, wide) for a in (c, inner_bias))
        ys, last = recurrent(cell, gates, p.cast(h, wide), before, p.cast(weights, wide), added)
        return p.cast(self._time_first(ys), x.dtype), None if last is None else p.cast(last, x.dtype)

    # Windows

    def _padded(self, x: Array, pads: Pads, value: float = 0.0) -> Array:
        low, high = ((0, *(pair[side] for pair in pads), 0) for side in (0, 1))
        return p.pad(x, low, high, value=value)

    def _conv2d(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Array:
        y = convolve(x, kernel, strides, pads, dilation, groups)
        return y if bias is None else y + bias

    def _conv2d_transpose(
        self,
        x: Array,
        kernel: Array,
        bias: Array | None,
        strides: Pair,
        crop: Pads,
        append: Pads,
        dilation: Pair,
        groups: int,
    ) -> Array:
        y = convolve_transposed(x, kernel, strides, crop, dilation, groups)
        y = self._padded(y, append)
        return y if bias is None else y + bias

    def _max_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads, dilation: Pair) -> Array:
        return max_pool(self._padded(x, pads, -math.inf), window, strides, dilation)

    def _avg_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads, count_padding: bool) -> Array:
        total = avg_pool(self._padded(x, pads), window, strides)
        if count_padding:
            mean: Array = total * (1 / (window[0] * window[1]))
            return mean
        ones = self._padded(self.filled((1, x.shape[1], x.shape[2], 1), 1.0, like=x), pads)
        mean = total / avg_pool(ones, window, strides)
        return mean

    # Positions

    def _embedding(self, table: Array, ids: Array) -> Array:
        return p.gather(table, ids)

    def _scatter(self, x: Array, axis: int, index: Array, source: Array, add: bool) -> Array:
        grid = []
        for k, n in enumerate(index.shape):
            along = p.reshape(p.iota(x.runtime, n, dtypes.int64), [n if k == j else 1 for j in range(index.ndim)])
            grid.append(index if k == axis else p.broadcast(along, index.shape))
        places = p.reshape(flat_positions(grid, x.shape), (index.size,))
        flat = p.scatter(p.reshape(x, (x.size,)), places, p.reshape(source, (source.size,)), add=add)
        return p.reshape(flat, x.shape)


# What the class of the arrays leaves to what is written on top of it.
OpenclArray.elementwise = staticmethod(p.elementwise)
OpenclArray.fetched = staticmethod(fetch)
OpenclArray.indexed = staticmethod(indexed)
OpenclArray.moved = staticmethod(to_device)

register(OpenclArray, OpenclOps())
