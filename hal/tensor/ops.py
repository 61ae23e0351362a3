"""The neutral tensor API as one backend implements it: checks and defaults here, what a vendor does better in hooks.

A public method checks its arguments once and calls the hook of the same name with an underscore. A hook gets explicit
values (pairs, four paddings) and shapes that fit. Each has a default in terms of the Array API standard
(:mod:`hal.tensor.defaults`); a backend overrides those that its libraries do better.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from hal.errors import ShapeError
from hal.tensor import defaults, shapes
from hal.tensor.shapes import Padding, Pads, Size
from hal.types import Array, Tree

__all__ = ["Ops"]

Pair = tuple[int, int]


class Ops(abc.ABC):
    """Tensor functions of one backend: the Array API standard, plus what neural networks need.

    Conventions: images (batch, height, width, channels); convolution kernels (height, width, in, out); sequences
    (batch, time, features). Results have the dtype of the first argument, but for the losses, which are fp32.

    Args:
        standard: a namespace of the Array API standard (2024.12) whose functions can be differentiated.
        device: what creation functions get as ``device=`` unless the caller says otherwise; None: nothing.
    """

    fuses: ClassVar[bool] = False
    """Whether the runtime fuses elementwise ops with their neighbours, so that they cost no pass over memory."""

    CREATION: ClassVar[tuple[str, ...]] = ("arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")

    def __init__(self, standard: Any, device: Any = None) -> None:
        self.standard = standard
        self.device = device
        self.__name__ = f"hal.ops[{type(self).__name__}]"
        if device is not None:
            for name in self.CREATION:
                setattr(self, name, self._bound(getattr(standard, name)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "standard":
            raise AttributeError(name)
        value = getattr(self.standard, name)
        setattr(self, name, value)
        return value

    def _bound(self, function: Callable[..., Array]) -> Callable[..., Array]:
        @functools.wraps(function)
        def create(*args: Any, **kwargs: Any) -> Array:
            if kwargs.get("device") is None:
                kwargs["device"] = self.device
            return function(*args, **kwargs)

        return create

    @property
    def __array_api_version__(self) -> str:
        return str(self.standard.__array_api_version__)

    def __array_namespace_info__(self) -> Any:
        return self.standard.__array_namespace_info__()

    # Differentiation and control

    @abc.abstractmethod
    def stop_gradient(self, x: Array) -> Array:
        """The same values, as a constant for differentiation."""

    def scan(self, fn: Callable[[Tree, Tree], tuple[Tree, Array]], init: Tree, xs: Array) -> tuple[Tree, Array]:
        """Carry a value through a sequence: ``carry, y = fn(carry, x)`` for each x along the first axis.

        Returns:
            The last carry and the ys, stacked along the first axis.
        """
        return defaults.scan(self, fn, init, xs)

    # Creation in the likeness of another array

    def filled(self, shape: Sequence[int], value: float, *, like: Array) -> Array:
        """An array of one value, with the dtype and device of ``like``."""
        return self.standard.full(tuple(shape), value, dtype=like.dtype, **self._placed(like))

    def zeros_as(self, shape: Sequence[int], *, like: Array) -> Array:
        """Zeros with the dtype and device of ``like``."""
        return self.filled(shape, 0.0, like=like)

    def positions(self, count: int, *, like: Array) -> Array:
        """0, 1, ... to below a count: integers (count,), in the standard's default dtype, on the device of ``like``."""
        return self.standard.arange(count, **self._placed(like))

    def _placed(self, like: Array) -> dict[str, Any]:
        """Keyword arguments with which a creation function puts an array beside ``like``."""
        return {}

    def cast(self, x: Array, dtype: Any) -> Array:
        """The same values in another dtype; x itself where it has that dtype already."""
        return x if x.dtype == dtype else self.standard.astype(x, dtype)

    # Randomness

    def fold_in(self, key: Any, data: int) -> Any:
        """A new random key, determined by a key and a number."""
        return key.fold_in(data)

    def split_key(self, key: Any, count: int = 2) -> Sequence[Any]:
        """Independent new random keys."""
        return key.split(count)  # type: ignore[no-any-return]

    def uniform(self, key: Any, shape: Sequence[int], *, like: Array) -> Array:
        """Numbers from [0, 1) with the dtype and device of ``like``."""
        return defaults.uniform(self, key, tuple(shape), like)

    def normal(self, key: Any, shape: Sequence[int], *, like: Array) -> Array:
        """Standard normal numbers with the dtype and device of ``like``."""
        return defaults.normal(self, key, tuple(shape), like)

    def dropout(self, x: Array, rate: float, key: Any) -> Array:
        """Zero a share of the values and scale the others by 1 / (1 - rate).

        Raises:
            ShapeError: rate is not in [0, 1).
        """
        if not 0 <= rate < 1:
            raise ShapeError(f"rate={rate} of dropout should be in [0, 1)")
        return x if rate == 0 else self._dropout(x, rate, key)

    def _dropout(self, x: Array, rate: float, key: Any) -> Array:
        keep = self.uniform(key, x.shape, like=x) >= rate
        return self.standard.where(keep, x / (1 - rate), self.zeros_as(x.shape, like=x))

    # Activations

    def relu(self, x: Array) -> Array:
        """max(x, 0)."""
        return self.standard.where(x > 0, x, self.standard.zeros_like(x))

    def leaky_relu(self, x: Array, slope: float = 0.01) -> Array:
        """X where positive, else slope * x."""
        return self.standard.where(x > 0, x, x * slope)

    def elu(self, x: Array) -> Array:
        """X where positive, else exp(x) - 1 (Clevert, Unterthiner and Hochreiter, arXiv 1511.07289)."""
        negative = self.standard.where(x > 0, self.standard.zeros_like(x), x)
        return self.standard.where(x > 0, x, self.standard.expm1(negative))

    def gelu(self, x: Array) -> Array:
        """The tanh approximation of GELU (Hendrycks and Gimpel, arXiv 1606.08415)."""
        return 0.5 * x * (1 + self.standard.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x)), computed without overflow."""
        return 0.5 * (self.standard.tanh(0.5 * x) + 1)

    def silu(self, x: Array) -> Array:
        """X * sigmoid(x)."""
        return x * self.sigmoid(x)

    def softplus(self, x: Array) -> Array:
        """Log(1 + exp(x)), computed without overflow."""
        return self.standard.logaddexp(x, self.standard.zeros_like(x))

    def softmax(self, x: Array, axis: int = -1) -> Array:
        """exp(x) over its sum along an axis."""
        e = self.standard.exp(x - self.stop_gradient(self.standard.max(x, axis=axis, keepdims=True)))
        return e / self.standard.sum(e, axis=axis, keepdims=True)

    def log_softmax(self, x: Array, axis: int = -1) -> Array:
        """The logarithm of softmax, computed without underflow."""
        shifted = x - self.stop_gradient(self.standard.max(x, axis=axis, keepdims=True))
        return shifted - self.standard.log(self.standard.sum(self.standard.exp(shifted), axis=axis, keepdims=True))

    # Layers' arithmetic

    def linear(self, x: Array, kernel: Array, bias: Array | None = None) -> Array:
        """X @ kernel + bias; x (..., in), kernel (in, out), bias (out,)."""
        if not x.shape or len(kernel.shape) != 2 or x.shape[-1] != kernel.shape[0]:
            raise ShapeError(f"x {tuple(x.shape)} and kernel {tuple(kernel.shape)} should be (..., in) and (in, out)")
        return self._linear(x, kernel, bias)

    def _linear(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        y = self.standard.matmul(x, kernel)
        return y if bias is None else y + bias

    def embedding(self, table: Array, ids: Array) -> Array:
        """Rows of a table; table (entries, features), ids integers (...): (..., features)."""
        if len(table.shape) != 2:
            raise ShapeError(f"table has shape {tuple(table.shape)}; should be (entries, features)")
        return self._embedding(table, ids)

    def _embedding(self, table: Array, ids: Array) -> Array:
        flat = self.standard.take(table, self.standard.reshape(ids, (-1,)), axis=0)
        return self.standard.reshape(flat, (*ids.shape, table.shape[1]))

    def conv2d(
        self,
        x: Array,
        kernel: Array,
        bias: Array | None = None,
        *,
        strides: Size = 1,
        padding: Padding = "same",
        dilation: Size = 1,
        groups: int = 1,
    ) -> Array:
        """Cross-correlate images with kernels.

        Args:
            x: (batch, height, width, in).
            kernel: (height, width, in / groups, out).
            bias: (out,).
            strides: step of the window, one number or (height, width).
            padding: ``same``, ``valid`` or ((top, bottom), (left, right)).
            dilation: spacing of the kernel's elements.
            groups: channels are split into so many groups, each with its own kernels.

        Returns:
            (batch, height', width', out).

        Raises:
            ShapeError: shapes do not fit.
        """
        shapes.check_conv2d(x.shape, kernel.shape, None if bias is None else tuple(bias.shape), groups)
        step, spacing = shapes.pair(strides, "strides"), shapes.pair(dilation, "dilation")
        window = (kernel.shape[0], kernel.shape[1])
        pads = shapes.pads_of(padding, x.shape[1:3], window, step, spacing)
        shapes.conv_output(x.shape[1:3], window, step, pads, spacing)
        return self._conv2d(x, kernel, bias, step, pads, spacing, groups)

    def _conv2d(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Array:
        return defaults.conv2d(self, x, kernel, bias, strides, pads, dilation, groups)

    def conv2d_transpose(
        self, x: Array, kernel: Array, bias: Array | None = None, *, strides: Size = 1, padding: Padding = "same"
    ) -> Array:
        """The gradient of a strided convolution with respect to its input, used to enlarge images.

        Args:
            x: (batch, height, width, in).
            kernel: (height, width, in, out).
            bias: (out,).
            strides: factor by which the image grows.
            padding: ``same`` (height * stride) or ``valid`` (height * stride + max(window - stride, 0)).

        Returns:
            (batch, height', width', out).

        Raises:
            ShapeError: shapes do not fit.
        """
        shapes.check_conv2d(x.shape, kernel.shape, None if bias is None else tuple(bias.shape), 1)
        step = shapes.pair(strides, "strides")
        crop, append = shapes.transpose_pads(padding, (kernel.shape[0], kernel.shape[1]), step)
        return self._conv2d_transpose(x, kernel, bias, step, crop, append)

    def _conv2d_transpose(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, crop: Pads, append: Pads
    ) -> Array:
        return defaults.conv2d_transpose(self, x, kernel, bias, strides, crop, append)

    def max_pool2d(
        self, x: Array, window: Size = 2, *, strides: Size | None = None, padding: Padding = "valid"
    ) -> Array:
        """The largest value of each window; strides default to the window, padding never wins."""
        return self._pool("max", x, window, strides, padding)

    def avg_pool2d(
        self, x: Array, window: Size = 2, *, strides: Size | None = None, padding: Padding = "valid"
    ) -> Array:
        """The mean of each window, over the values inside the image."""
        return self._pool("avg", x, window, strides, padding)

    def _pool(
        self, kind: Literal["max", "avg"], x: Array, window: Size, strides: Size | None, padding: Padding
    ) -> Array:
        if len(x.shape) != 4:
            raise ShapeError(f"x has shape {tuple(x.shape)}; should be (batch, height, width, channels)")
        size = shapes.pair(window, "window")
        step = size if strides is None else shapes.pair(strides, "strides")
        pads = shapes.pads_of(padding, x.shape[1:3], size, step, (1, 1))
        if max(pads[0]) >= size[0] or max(pads[1]) >= size[1]:
            raise ShapeError(f"padding {pads} leaves windows of {size} without a value; use less")
        shapes.conv_output(x.shape[1:3], size, step, pads, (1, 1))
        return (self._max_pool2d if kind == "max" else self._avg_pool2d)(x, size, step, pads)

    def _max_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
        return defaults.max_pool2d(self, x, window, strides, pads)

    def _avg_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
        return defaults.avg_pool2d(self, x, window, strides, pads)

    def translate2d(self, x: Array, rows: Array, columns: Array) -> Array:
        """Move each image by whole pixels; what comes in is zero.

        Args:
            x: (batch, height, width, channels), finite.
            rows: by how many pixels each image moves down, integers (batch,); negative: up.
            columns: by how many it moves to the right, integers (batch,).

        Returns:
            Images like x: ``y[n, i, j, c] = x[n, i - rows[n], j - columns[n], c]``.
        """
        if len(x.shape) != 4:
            raise ShapeError(f"x has shape {tuple(x.shape)}; should be (batch, height, width, channels)")
        for name, moves in (("rows", rows), ("columns", columns)):
            if tuple(moves.shape) != (x.shape[0],):
                raise ShapeError(
                    f"{name} has shape {tuple(moves.shape)}; should be one number an image: ({x.shape[0]},)"
                )
        return self._translate2d(x, rows, columns)

    def _translate2d(self, x: Array, rows: Array, columns: Array) -> Array:
        return defaults.translate2d(self, x, rows, columns)

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        offset: Array,
        mean: Array,
        variance: Array,
        *,
        training: bool,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
    ) -> tuple[Array, Array, Array]:
        """Normalise each channel (Ioffe and Szegedy, arXiv 1502.03167).

        Args:
            x: (batch, ..., channels).
            scale: (channels,); as offset, mean and variance, in fp32 also where x is narrower.
            offset: (channels,).
            mean: running mean (channels,).
            variance: running variance (channels,), the unbiased estimate.
            training: normalise by this batch's statistics and update the running ones.
            momentum: the share of the running statistics that an update keeps.
            epsilon: added to the variance.

        Returns:
            The result, and the running mean and variance from now on.
        """
        for name, value in (("scale", scale), ("offset", offset), ("mean", mean), ("variance", variance)):
            if tuple(value.shape) != (x.shape[-1],):
                raise ShapeError(f"{name} has shape {tuple(value.shape)}; should be ({x.shape[-1]},)")
        return self._batch_norm(x, scale, offset, mean, variance, training, momentum, epsilon)

    def _batch_norm(
        self,
        x: Array,
        scale: Array,
        offset: Array,
        mean: Array,
        variance: Array,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> tuple[Array, Array, Array]:
        return defaults.batch_norm(self, x, scale, offset, mean, variance, training, momentum, epsilon)

    def layer_norm(self, x: Array, scale: Array, offset: Array, *, epsilon: float = 1e-5) -> Array:
        """Normalise over the last axis (Ba, Kiros and Hinton, arXiv 1607.06450); scale and offset (features,)."""
        for name, value in (("scale", scale), ("offset", offset)):
            if tuple(value.shape) != (x.shape[-1],):
                raise ShapeError(f"{name} has shape {tuple(value.shape)}; should be ({x.shape[-1]},)")
        return self._layer_norm(x, scale, offset, epsilon)

    def _layer_norm(self, x: Array, scale: Array, offset: Array, epsilon: float) -> Array:
        return defaults.layer_norm(self, x, scale, offset, epsilon)

    def attention(
        self, query: Array, key: Array, value: Array, *, mask: Array | None = None, causal: bool = False
    ) -> Array:
        """Scaled dot-product attention (Vaswani et al., arXiv 1706.03762).

        Args:
            query: (batch, heads, time, features).
            key: (batch, heads, source time, features).
            value: (batch, heads, source time, value features).
            mask: booleans that broadcast to (batch, heads, time, source time); true where attention may look.
            causal: look at no later position; position 0 of query and source stand side by side.

        Returns:
            (batch, heads, time, value features).
        """
        if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
            raise ShapeError(
                f"query {tuple(query.shape)}, key {tuple(key.shape)} and value {tuple(value.shape)} do not fit: "
                "query and key share their features, key and value their time"
            )
        if mask is not None and causal:
            raise ShapeError("attention takes mask or causal, not both; put the causal part into the mask")
        return self._attention(query, key, value, mask, causal)

    def _attention(self, query: Array, key: Array, value: Array, mask: Array | None, causal: bool) -> Array:
        return defaults.attention(self, query, key, value, mask, causal)

    # Recurrence over a sequence

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
        """H' = activation(x @ kernel + h @ recurrent + bias), along time.

        Args:
            x: (batch, time, features).
            state: h before the first step, (batch, units); None: zeros.
            kernel: (features, units).
            recurrent: (units, units).
            bias: (units,).
            activation: ``tanh`` or ``relu``.

        Returns:
            h at each step (batch, time, units), and the last.
        """
        self._check_recurrent(x, (state,), kernel, recurrent, (bias,), 1)
        return self._rnn(x, self._initial(x, state, recurrent), kernel, recurrent, bias, activation)

    def _rnn(
        self, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, activation: str
    ) -> tuple[Array, Array]:
        return defaults.rnn(self, x, state, kernel, recurrent, bias, activation)

    def lstm(
        self, x: Array, state: tuple[Array, Array] | None, kernel: Array, recurrent: Array, bias: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order input, forget, cell, output.

        Args:
            x: (batch, time, features).
            state: (h, c) before the first step, each (batch, units); None: zeros.
            kernel: (features, 4 * units).
            recurrent: (units, 4 * units).
            bias: (4 * units,).

        Returns:
            h at each step (batch, time, units), and the last (h, c).
        """
        h, c = (None, None) if state is None else state
        self._check_recurrent(x, (h, c), kernel, recurrent, (bias,), 4)
        first = (self._initial(x, h, recurrent), self._initial(x, c, recurrent))
        return self._lstm(x, first, kernel, recurrent, bias)

    def _lstm(
        self, x: Array, state: tuple[Array, Array], kernel: Array, recurrent: Array, bias: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        return defaults.lstm(self, x, state, kernel, recurrent, bias)

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
        """
        self._check_recurrent(x, (state,), kernel, recurrent, (bias, recurrent_bias), 3)
        return self._gru(x, self._initial(x, state, recurrent), kernel, recurrent, bias, recurrent_bias)

    def _gru(
        self, x: Array, state: Array, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array
    ) -> tuple[Array, Array]:
        return defaults.gru(self, x, state, kernel, recurrent, bias, recurrent_bias)

    def _initial(self, x: Array, state: Array | None, recurrent: Array) -> Array:
        return self.zeros_as((x.shape[0], recurrent.shape[0]), like=x) if state is None else state

    @staticmethod
    def _check_recurrent(
        x: Array,
        states: Sequence[Array | None],
        kernel: Array,
        recurrent: Array,
        biases: Sequence[Array],
        gates: int,
    ) -> None:
        if len(x.shape) != 3 or x.shape[1] == 0:
            raise ShapeError(f"x has shape {tuple(x.shape)}; should be (batch, time, features) with time above 0")
        units = recurrent.shape[0]
        if tuple(kernel.shape) != (x.shape[2], gates * units) or recurrent.shape[1] != gates * units:
            raise ShapeError(
                f"kernel {tuple(kernel.shape)} and recurrent {tuple(recurrent.shape)} should be "
                f"({x.shape[2]}, {gates} * units) and (units, {gates} * units)"
            )
        for bias in biases:
            if tuple(bias.shape) != (gates * units,):
                raise ShapeError(f"bias has shape {tuple(bias.shape)}; should be ({gates * units},)")
        for state in states:
            if state is not None and tuple(state.shape) != (x.shape[0], units):
                raise ShapeError(f"the initial state has shape {tuple(state.shape)}; should be ({x.shape[0]}, {units})")

    # Losses, one number a sample, in fp32

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Minus the log-probability of the right class.

        Args:
            logits: (..., classes).
            labels: integers (...).

        Returns:
            (...), fp32.
        """
        if tuple(logits.shape[:-1]) != tuple(labels.shape):
            raise ShapeError(f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} differ before the classes")
        return self._cross_entropy(self.cast(logits, self.standard.float32), labels)

    def _cross_entropy(self, logits: Array, labels: Array) -> Array:
        classes = self.standard.arange(logits.shape[-1], dtype=labels.dtype, **self._placed(logits))
        hit = self.standard.expand_dims(labels, axis=-1) == classes
        log_p = self.log_softmax(logits)
        return -self.standard.sum(self.standard.where(hit, log_p, self.standard.zeros_like(log_p)), axis=-1)

    def sigmoid_cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Binary cross-entropy of logits against labels in [0, 1], elementwise, fp32."""
        z = self.cast(logits, self.standard.float32)
        return self.softplus(z) - z * self.cast(labels, self.standard.float32)

    def squared_error(self, prediction: Array, target: Array) -> Array:
        """(prediction - target) squared, elementwise, fp32."""
        d = self.cast(prediction, self.standard.float32) - self.cast(target, self.standard.float32)
        return d * d
