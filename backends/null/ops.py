"""The neutral tensor API with shapes only: each op that a vendor's library fuses is one op here, with its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from hal.backends.null import standard
from hal.backends.null.array import NullArray, elementwise, operate, operate_many
from hal.backends.null.device import DEVICE
from hal.backends.null.dtypes import floating
from hal.backends.null.shapes import axis_of, broadcast
from hal.backends.null.standard.products import factors
from hal.backends.null.tape import Spec
from hal.errors import ShapeError, UnsupportedError
from hal.tensor import Ops, shapes
from hal.tensor.shapes import Pads, Pair
from hal.types import Tree

__all__ = ["NullOps"]


class NullOps(Ops):
    """Ops on arrays without values.

    In the formulae, n counts the elements of x, and a bias adds one operation for each element of the result.
    """

    def __init__(self) -> None:
        super().__init__(standard, DEVICE)

    def _stop_gradient(self, x: NullArray) -> NullArray:
        """The same memory, as a constant for differentiation."""
        return x.detached()

    def _scan(
        self, fn: Callable[[Tree, NullArray], tuple[Tree, NullArray]], init: Tree, xs: NullArray
    ) -> tuple[Tree, NullArray]:
        """Every step runs, over views of xs, so that a step's ops are counted as often as they run."""
        carry, ys = init, []
        for x in standard.unstack(xs, axis=0):
            carry, y = fn(carry, x)
            ys.append(y)
        return carry, standard.stack(ys, axis=0)

    # Randomness: no operations, for generators differ

    def _uniform(self, key: Any, shape: tuple[int, ...], like: NullArray) -> NullArray:
        """Writes the result."""
        return operate("uniform", (), shape, like.dtype)

    def _normal(self, key: Any, shape: tuple[int, ...], like: NullArray) -> NullArray:
        """Writes the result."""
        return operate("normal", (), shape, like.dtype)

    def _dropout(self, x: NullArray, rate: float, key: Any) -> NullArray:
        """2n: a comparison and a product; keeps a mask of one byte an element."""
        return operate("dropout", (x,), x.shape, x.dtype, flops=2 * x.size, saves="nothing", keeps=x.size)

    # Activations

    def _relu(self, x: NullArray) -> NullArray:
        """max(x, 0); n operations."""
        return elementwise("relu", x)

    def _leaky_relu(self, x: NullArray, slope: float) -> NullArray:
        """X where positive, else slope * x; 2n operations."""
        return elementwise("leaky_relu", x)

    def _elu(self, x: NullArray) -> NullArray:
        """X where positive, else exp(x) - 1; 3n operations."""
        return elementwise("elu", x)

    def _gelu(self, x: NullArray) -> NullArray:
        """The tanh approximation of GELU; 9n operations."""
        return elementwise("gelu", x)

    def _sigmoid(self, x: NullArray) -> NullArray:
        """1 / (1 + exp(-x)); n operations, as one elementary function."""
        return elementwise("sigmoid", x)

    def _silu(self, x: NullArray) -> NullArray:
        """X * sigmoid(x); 2n operations."""
        return elementwise("silu", x)

    def _softplus(self, x: NullArray) -> NullArray:
        """Log(1 + exp(x)), computed without overflow; 5n operations: max, absolute value, exp, log1p, sum."""
        return elementwise("softplus", x)

    def _softmax(self, x: NullArray, axis: int) -> NullArray:
        """exp(x) over its sum; 5n operations: maximum, difference, exp, sum, quotient."""
        return self._normalized("softmax", x, axis)

    def _log_softmax(self, x: NullArray, axis: int) -> NullArray:
        """The logarithm of softmax; 5n operations: maximum, difference, exp, sum, difference."""
        return self._normalized("log_softmax", x, axis)

    @staticmethod
    def _normalized(name: str, x: NullArray, axis: int) -> NullArray:
        axis_of(axis, x.ndim)
        return operate(name, (x,), x.shape, floating(x.dtype), flops=5 * x.size, saves="output")

    # Layers' arithmetic

    def _linear(self, x: NullArray, kernel: NullArray, bias: NullArray | None) -> NullArray:
        """2 * rows * in * out."""
        shape = (*x.shape[:-1], kernel.shape[1])
        return self._affine("linear", x, kernel, bias, shape, flops=2 * x.size * kernel.shape[1])

    def _embedding(self, table: NullArray, ids: NullArray) -> NullArray:
        """No operations, reads the rows; going back, one addition for each element of the result."""
        spec = Spec((*ids.shape, table.shape[1]), table.dtype)
        return operate(
            "embedding",
            (table, ids),
            spec.shape,
            spec.dtype,
            read=spec.nbytes + ids.nbytes,
            saves=(ids,),
            backward_flops=spec.size,
        )

    def _conv2d(
        self,
        x: NullArray,
        kernel: NullArray,
        bias: NullArray | None,
        strides: Pair,
        pads: Pads,
        dilation: Pair,
        groups: int,
    ) -> NullArray:
        """2 * (elements of the result) * kernel height * kernel width * in / groups."""
        height, width, inner, out = kernel.shape
        rows, columns = shapes.conv_output(x.shape[1:3], (height, width), strides, pads, dilation)
        shape = (x.shape[0], rows, columns, out)
        return self._affine("conv2d", x, kernel, bias, shape, flops=2 * math.prod(shape) * height * width * inner)

    def _conv2d_transpose(
        self, x: NullArray, kernel: NullArray, bias: NullArray | None, strides: Pair, crop: Pads, append: Pads
    ) -> NullArray:
        """2 * (elements of x) * kernel height * kernel width * out."""
        rows, columns = (
            (n - 1) * s + k - sum(less) + sum(more)
            for n, s, k, less, more in zip(x.shape[1:3], strides, kernel.shape[:2], crop, append, strict=True)
        )
        shape = (x.shape[0], rows, columns, kernel.shape[3])
        flops = 2 * x.size * math.prod(kernel.shape[:2]) * kernel.shape[3]
        return self._affine("conv2d_transpose", x, kernel, bias, shape, flops=flops)

    @staticmethod
    def _affine(
        name: str, x: NullArray, kernel: NullArray, bias: NullArray | None, shape: tuple[int, ...], *, flops: int
    ) -> NullArray:
        """A product and a bias. Going back, the product's operations for each factor that needs a gradient."""
        _same_type(name, x, kernel, *(() if bias is None else (bias,)))
        size = math.prod(shape)
        saves = [a for a, other in ((x, kernel), (kernel, x)) if other.node is not None]
        inputs: tuple[NullArray, ...] = (x, kernel)
        added = summed = 0
        if bias is not None:
            inputs, added, summed = (x, kernel, bias), size, size * factors(bias)
        backward = flops * factors(x, kernel) + summed
        return operate(name, inputs, shape, x.dtype, flops=flops + added, saves=saves, backward_flops=backward)

    def _max_pool2d(self, x: NullArray, window: Pair, strides: Pair, pads: Pads) -> NullArray:
        """Window height * width for each element of the result; x and the result are kept."""
        return self._pooled("max_pool2d", x, window, strides, pads)

    def _avg_pool2d(self, x: NullArray, window: Pair, strides: Pair, pads: Pads) -> NullArray:
        """Window height * width for each element of the result; nothing is kept."""
        return self._pooled("avg_pool2d", x, window, strides, pads)

    @staticmethod
    def _pooled(name: str, x: NullArray, window: Pair, strides: Pair, pads: Pads) -> NullArray:
        rows, columns = shapes.conv_output(x.shape[1:3], window, strides, pads, (1, 1))
        shape = (x.shape[0], rows, columns, x.shape[3])
        flops = math.prod(shape) * math.prod(window)
        return operate(name, (x,), shape, x.dtype, flops=flops, saves="both" if name == "max_pool2d" else "nothing")

    def _translate2d(self, x: NullArray, rows: NullArray, columns: NullArray) -> NullArray:
        """No operations; going back, one addition for each element."""
        return operate(
            "translate2d", (x, rows, columns), x.shape, x.dtype, saves=(rows, columns), backward_flops=x.size
        )

    def _batch_norm(
        self,
        x: NullArray,
        scale: NullArray,
        offset: NullArray,
        mean: NullArray,
        variance: NullArray,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> tuple[NullArray, NullArray, NullArray]:
        """3n (difference, product, sum); in training 6n, since statistics take 4n; keeps x and the statistics."""
        inputs, saved = (x, scale, offset, mean, variance), (x, scale)
        if not training:
            y = operate("batch_norm", inputs, x.shape, x.dtype, flops=3 * x.size, saves=(*saved, mean, variance))
            return y, mean, variance
        y, next_mean, next_variance = operate_many(
            "batch_norm",
            inputs,
            (x.spec, mean.spec, variance.spec),
            flops=6 * x.size,
            saves=saved,
            keeps=2 * scale.nbytes,
        )
        return y, next_mean.detached(), next_variance.detached()

    def _layer_norm(self, x: NullArray, scale: NullArray, offset: NullArray, epsilon: float) -> NullArray:
        """7n: 4n for the statistics, 3n for two products and a sum; keeps x and the statistics of each row."""
        rows = x.size // max(x.shape[-1], 1)
        keeps = 2 * rows * scale.dtype.itemsize
        inputs = (x, scale, offset)
        return operate("layer_norm", inputs, x.shape, x.dtype, flops=7 * x.size, saves=(x, scale), keeps=keeps)

    def _attention(
        self, query: NullArray, key: NullArray, value: NullArray, mask: NullArray | None, causal: bool
    ) -> NullArray:
        """For each pair of positions 2 * (features + value features) + 6 (scaling and softmax), causal or not.

        As a fused kernel: the matrix of weights is never in memory; inputs, result and one fp32 number a row are kept.
        """
        steps, features = query.shape[-2:]
        leading = broadcast(query.shape[:-2], key.shape[:-2], value.shape[:-2])
        if mask is not None:
            broadcast(mask.shape, (*leading, steps, key.shape[-2]))
        rows = math.prod(leading) * steps
        flops = rows * key.shape[-2] * (2 * (features + value.shape[-1]) + 6)
        inputs = (query, key, value) if mask is None else (query, key, value, mask)
        shape = (*leading, steps, value.shape[-1])
        facts = {"flops": flops, "saves": "both", "keeps": 4 * rows, "backward_flops": 2 * flops}
        return operate("attention", inputs, shape, query.dtype, **facts)

    # Recurrence over a sequence; per (batch, time): 2 * gates * units * (features + units) for the products, and
    # going back twice the operations

    def _rnn(
        self,
        x: NullArray,
        state: NullArray,
        kernel: NullArray,
        recurrent: NullArray,
        bias: NullArray,
        activation: str,
    ) -> tuple[NullArray, NullArray]:
        """Products of 1 gate, and 3 for each unit: two sums and the activation."""
        ys, h = self._recurrent("rnn", x, (state,), (kernel, recurrent, bias), elementary=3, kept=0)
        return ys, h

    def _lstm(
        self,
        x: NullArray,
        state: tuple[NullArray, NullArray],
        kernel: NullArray,
        recurrent: NullArray,
        bias: NullArray,
    ) -> tuple[NullArray, tuple[NullArray, NullArray]]:
        """Products of 4 gates, and 17 for each unit: 8 sums, 5 elementary functions, 3 for c, 1 for h.

        Keeps the four gates and c of each step.
        """
        ys, h, c = self._recurrent("lstm", x, state, (kernel, recurrent, bias), elementary=17, kept=5)
        return ys, (h, c)

    def _gru(
        self,
        x: NullArray,
        state: NullArray,
        kernel: NullArray,
        recurrent: NullArray,
        bias: NullArray,
        recurrent_bias: NullArray,
    ) -> tuple[NullArray, NullArray]:
        """Products of 3 gates, and 17 for each unit: 9 sums, 3 elementary functions, 1 to reset, 4 for h.

        Keeps the three gates and the recurrent part of the third of each step.
        """
        weights = (kernel, recurrent, bias, recurrent_bias)
        ys, h = self._recurrent("gru", x, (state,), weights, elementary=17, kept=4)
        return ys, h

    @staticmethod
    def _recurrent(
        name: str,
        x: NullArray,
        state: Sequence[NullArray],
        weights: Sequence[NullArray],
        *,
        elementary: int,
        kept: int,
    ) -> tuple[NullArray, ...]:
        _same_type(name, x, *weights)
        batch, time, features = x.shape
        units, width = weights[1].shape
        for array, wanted in (*((s, (batch, units)) for s in state), *((b, (width,)) for b in weights[2:])):
            if array.shape != wanted:
                raise ShapeError(f"{name} was given a state or bias of shape {array.shape}; should be {wanted}")
        cells = batch * time * units
        flops = 2 * batch * time * width * (features + units) + elementary * cells
        outputs = (Spec((batch, time, units), x.dtype), *(s.spec for s in state))
        inputs, keeps = (x, *state, *weights), kept * cells * x.dtype.itemsize
        return operate_many(name, inputs, outputs, flops=flops, saves="both", keeps=keeps, backward_flops=2 * flops)

    # Losses

    def _cross_entropy(self, logits: NullArray, labels: NullArray) -> NullArray:
        """5n, as log_softmax; keeps its result and the labels."""
        facts = {"flops": 5 * logits.size, "saves": (labels,), "keeps": logits.nbytes}
        return operate("cross_entropy", (logits, labels), labels.shape, logits.dtype, **facts)


def _same_type(name: str, x: NullArray, *weights: NullArray) -> None:
    """Frameworks disagree on products of mixed types, so they are refused here, where a test sees it."""
    if any(w.dtype != x.dtype for w in weights):
        given = ", ".join(str(w.dtype) for w in weights)
        raise UnsupportedError(
            f"{name} was given x of type {x.dtype} and weights of {given}", fix="cast them to one type, as layers do"
        )
