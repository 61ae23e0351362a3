"""The neutral tensor API with shapes only: each op that a vendor's library fuses is one op here, with its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from hal.backends._traced.dtypes import floating, int64
from hal.backends._traced.shapes import axis_of
from hal.backends.null import standard
from hal.backends.null.array import NullArray, elementwise, operate, operate_many
from hal.backends.null.device import DEVICE
from hal.backends.null.image_ops import ImageOps
from hal.backends.null.products import affine, einsum_flops, same_type
from hal.backends.null.standard.products import factors
from hal.backends.null.tape import Spec
from hal.errors import ShapeError
from hal.tensor.shapes import indexed
from hal.types import Tree

__all__ = ["NullOps"]


class NullOps(ImageOps):
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

    def _erf(self, x: NullArray) -> NullArray:
        """The error function; n operations, as one elementary function."""
        return elementwise("erf", x)

    def _gelu(self, x: NullArray, exact: bool) -> NullArray:
        """9n operations for the tanh approximation of GELU, 5n for the exact one: erf, three products, a sum."""
        if exact:
            return operate("gelu", (x,), x.shape, floating(x.dtype), flops=5 * x.size)
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
        return affine("linear", x, kernel, bias, shape, flops=2 * x.size * kernel.shape[1])

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

    def _group_norm(self, x: NullArray, groups: int, scale: NullArray, offset: NullArray, epsilon: float) -> NullArray:
        """7n, as layer_norm; keeps x and the statistics of each group of each sample."""
        keeps = 2 * x.shape[0] * groups * scale.dtype.itemsize
        inputs = (x, scale, offset)
        return operate("group_norm", inputs, x.shape, x.dtype, flops=7 * x.size, saves=(x, scale), keeps=keeps)

    def _attention(
        self,
        query: NullArray,
        key: NullArray,
        value: NullArray,
        mask: NullArray | None,
        causal: bool,
        scale: float,
        dropout: float,
        rng: Any,
    ) -> NullArray:
        """For each pair of positions 2 * (features + value features) + 6 (scaling and softmax), causal or not.

        Dropout is 2 more, a mask of numbers 1. As a fused kernel: the matrix of weights is never in memory, nor that
        of what dropout keeps, which is drawn again; inputs, result and one fp32 number a row are kept.
        """
        steps, features = query.shape[-2:]
        rows = math.prod(query.shape[:-1])
        added = mask is not None and mask.dtype.kind != "b"
        each = 2 * (features + value.shape[-1]) + 6 + 2 * bool(dropout) + added
        flops = rows * key.shape[-2] * each
        inputs = (query, key, value) if mask is None else (query, key, value, mask)
        shape = (*query.shape[:-2], steps, value.shape[-1])
        facts = {"flops": flops, "saves": "both", "keeps": 4 * rows, "backward_flops": 2 * flops}
        return operate("attention", inputs, shape, query.dtype, **facts)

    def _einsum(self, terms: Sequence[str], result: str, operands: Sequence[NullArray]) -> NullArray:
        """From left to right, 2 for each product of two numbers; what one array alone has is summed before."""
        sizes: dict[str, int] = {}
        for term, x in zip(terms, operands, strict=True):
            sizes.update(zip(term, x.shape, strict=True))
        flops = einsum_flops(terms, result, sizes)
        facts = {"flops": flops, "saves": "others", "backward_flops": flops * factors(*operands)}
        return operate("einsum", operands, tuple(sizes[letter] for letter in result), operands[0].dtype, **facts)

    # Positions: no operations but additions

    def _scatter(self, x: NullArray, axis: int, index: NullArray, source: NullArray, add: bool) -> NullArray:
        """As many as source has elements if they are added."""
        facts = {"flops": source.size if add else 0, "saves": (index,), "backward_flops": 0}
        return operate("scatter", (x, index, source), x.shape, x.dtype, **facts)

    def _index_put(
        self, x: NullArray, indices: tuple[NullArray | None, ...], values: NullArray, add: bool
    ) -> NullArray:
        """As many as are put if they are added."""
        given = [index for index in indices if index is not None]
        shape, _ = indexed(x.shape, [None if index is None else index.shape for index in indices])
        facts = {"flops": math.prod(shape) if add else 0, "saves": given, "backward_flops": 0}
        return operate("index_put", (x, *given, values), x.shape, x.dtype, **facts)

    def _topk(self, x: NullArray, k: int, axis: int) -> tuple[NullArray, NullArray]:
        """A comparison with the smallest of the k for each element; the positions are kept."""
        shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
        outputs = (Spec(shape, x.dtype), Spec(shape, int64))
        facts: dict[str, Any] = {"saves": "nothing", "keeps": outputs[1].nbytes, "backward_flops": 0}
        values, positions = operate_many("topk", (x,), outputs, flops=x.size, **facts)
        return values, positions

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
        same_type(name, x, *weights)
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
