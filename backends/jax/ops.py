"""The neutral tensor API on JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from hal.backends.jax.algorithms import avg_pool, convolve, max_pool, translated_by_products
from hal.tensor import Ops, register
from hal.tensor.ops import Pair
from hal.tensor.shapes import Pads
from hal.types import Tree

__all__ = ["JaxOps"]

Array = jax.Array


class JaxOps(Ops):
    """Ops on jax.Array, traced or not; for creation bound to a device, otherwise to where the arguments are."""

    fuses: ClassVar[bool] = True

    def __init__(self, device: Any = None) -> None:
        super().__init__(jnp, device)

    def stop_gradient(self, x: Array) -> Array:
        """The same values, as a constant for differentiation."""
        return lax.stop_gradient(x)

    def scan(self, fn: Callable[[Tree, Tree], tuple[Tree, Array]], init: Tree, xs: Array) -> tuple[Tree, Array]:
        """Carry a value through a sequence; see :meth:`hal.tensor.Ops.scan`."""
        return lax.scan(fn, init, xs)

    # Randomness: keys are JAX's own

    def fold_in(self, key: Array, data: int) -> Array:
        """A new random key, determined by a key and a number."""
        return jax.random.fold_in(key, data)

    def split_key(self, key: Array, count: int = 2) -> Sequence[Array]:
        """Independent new random keys."""
        return tuple(jax.random.split(key, count))

    def uniform(self, key: Array, shape: Sequence[int], *, like: Array) -> Array:
        """Numbers from [0, 1) with the dtype of ``like``."""
        return jax.random.uniform(key, tuple(shape), like.dtype)

    def normal(self, key: Array, shape: Sequence[int], *, like: Array) -> Array:
        """Standard normal numbers with the dtype of ``like``."""
        return jax.random.normal(key, tuple(shape), like.dtype)

    def _dropout(self, x: Array, rate: float, key: Array) -> Array:
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    # Activations

    def relu(self, x: Array) -> Array:
        """max(x, 0)."""
        return jax.nn.relu(x)

    def leaky_relu(self, x: Array, slope: float = 0.01) -> Array:
        """X where positive, else slope * x."""
        return jax.nn.leaky_relu(x, slope)

    def elu(self, x: Array) -> Array:
        """X where positive, else exp(x) - 1."""
        return jax.nn.elu(x)

    def gelu(self, x: Array) -> Array:
        """The tanh approximation of GELU."""
        return jax.nn.gelu(x, approximate=True)

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x))."""
        return jax.nn.sigmoid(x)

    def silu(self, x: Array) -> Array:
        """X * sigmoid(x)."""
        return jax.nn.silu(x)

    def softplus(self, x: Array) -> Array:
        """log(1 + exp(x))."""
        return jax.nn.softplus(x)

    def softmax(self, x: Array, axis: int = -1) -> Array:
        """exp(x) over its sum along an axis."""
        return jax.nn.softmax(x, axis)

    def log_softmax(self, x: Array, axis: int = -1) -> Array:
        """The logarithm of softmax."""
        return jax.nn.log_softmax(x, axis)

    # Layers' arithmetic

    def _linear(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        return _biased(jnp.matmul(x, kernel), bias)

    def _conv2d(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Array:
        return _biased(convolve(x, kernel, strides, pads, dilation, groups), bias)

    def _conv2d_transpose(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, crop: Pads, append: Pads
    ) -> Array:
        # The full result reaches window - 1 around the spread image; cropping takes from that, appending adds zeros.
        pads = [
            (window - 1 - before, window - 1 - after + more)
            for window, (before, after), (_, more) in zip(kernel.shape[:2], crop, append, strict=True)
        ]
        y = lax.conv_general_dilated(
            x,
            jnp.flip(kernel, (0, 1)),
            (1, 1),
            pads,
            lhs_dilation=strides,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return _biased(y, bias)

    def _max_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
        return max_pool(x, window, strides, pads)

    def _avg_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
        return avg_pool(x, window, strides, pads)

    def _translate2d(self, x: Array, rows: Array, columns: Array) -> Array:
        def gathered(x: Array, rows: Array, columns: Array) -> Array:
            moved: Array = super(JaxOps, self)._translate2d(x, rows, columns)
            return moved

        # A TPU has no fast gather of single pixels, and its compiler works on one for most of a minute.
        moved: Array = lax.platform_dependent(x, rows, columns, tpu=translated_by_products, default=gathered)
        return moved


def _biased(y: Array, bias: Array | None) -> Array:
    """Y + bias. Its gradient sums a whole image in fp32: XLA adds bf16 numbers up in bf16 on the CPU, 10 % off."""
    if bias is None:
        return y
    return y + jnp.broadcast_to(bias.astype(jnp.float32), y.shape).astype(y.dtype)


for _type in (jax.Array, type(jnp.zeros(())), Tracer, type(jax.random.key(0))):
    register(_type, JaxOps())
