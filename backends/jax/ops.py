"""The neutral tensor API on JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from hal.backends.jax import standard
from hal.backends.jax.algorithms import avg_pool, chosen, convolve, max_pool, translated_by_products
from hal.tensor import Ops, register, shapes
from hal.tensor.shapes import Pads, Pair
from hal.types import Tree

__all__ = ["JaxOps"]

Array = jax.Array


class JaxOps(Ops):
    """Ops on jax.Array, traced or not; for creation bound to a device, otherwise to where the arguments are."""

    fuses: ClassVar[bool] = True

    def __init__(self, device: Any = None) -> None:
        super().__init__(standard, device)

    def _stop_gradient(self, x: Array) -> Array:
        return lax.stop_gradient(x)

    def _scan(self, fn: Callable[[Tree, Tree], tuple[Tree, Array]], init: Tree, xs: Array) -> tuple[Tree, Array]:
        return lax.scan(fn, init, xs)

    # Randomness: keys are JAX's own

    def _fold_in(self, key: Array, data: int) -> Array:
        return jax.random.fold_in(key, data)

    def _split_key(self, key: Array, count: int) -> Sequence[Array]:
        return tuple(jax.random.split(key, count))

    def _uniform(self, key: Array, shape: tuple[int, ...], like: Array) -> Array:
        return jax.random.uniform(key, shape, like.dtype)

    def _normal(self, key: Array, shape: tuple[int, ...], like: Array) -> Array:
        return jax.random.normal(key, shape, like.dtype)

    def _dropout(self, x: Array, rate: float, key: Array) -> Array:
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    # Activations

    def _relu(self, x: Array) -> Array:
        return jax.nn.relu(x)

    def _leaky_relu(self, x: Array, slope: float) -> Array:
        return jnp.where(x > 0, x, x * slope)  # jax.nn.leaky_relu has the derivative 1 at 0

    def _elu(self, x: Array) -> Array:
        return jax.nn.elu(x)

    def _erf(self, x: Array) -> Array:
        return jax.scipy.special.erf(x)

    def _gelu(self, x: Array, exact: bool) -> Array:
        return jax.nn.gelu(x, approximate=not exact)

    def _sigmoid(self, x: Array) -> Array:
        return jax.nn.sigmoid(x)

    def _silu(self, x: Array) -> Array:
        return jax.nn.silu(x)

    def _softplus(self, x: Array) -> Array:
        return jax.nn.softplus(x)

    def _softmax(self, x: Array, axis: int) -> Array:
        return jax.nn.softmax(x, axis)

    def _log_softmax(self, x: Array, axis: int) -> Array:
        return jax.nn.log_softmax(x, axis)

    # Layers' arithmetic

    def _linear(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        return _biased(jnp.matmul(x, kernel), bias)

    def _embedding(self, table: Array, ids: Array) -> Array:
        outside = jnp.where(ids < 0, table.shape[0], ids)  # JAX counts from the end otherwise
        rows: Array = jnp.take(table, outside, axis=0, mode="fill", fill_value=jnp.nan)
        return rows

    def _conv2d(
        self, x: Array, kernel: Array, bias: Array | None, strides: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Array:
        return _biased(convolve(x, kernel, strides, pads, dilation, groups), bias)

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
        # The full result reaches reach - 1 around the spread image; cropping takes from that, appending adds zeros.
        reach = shapes.reach((kernel.shape[0], kernel.shape[1]), dilation)
        pads = [
            (rows - 1 - before, rows - 1 - after + more)
            for rows, (before, after), (_, more) in zip(reach, crop, append, strict=True)
        ]
        y = lax.conv_general_dilated(
            x,
            self._of_convolution(jnp.flip(kernel, (0, 1)), groups),
            (1, 1),
            pads,
            lhs_dilation=strides,
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return _biased(y, bias)

    def _max_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads, dilation: Pair) -> Array:
        return max_pool(x, window, strides, pads, dilation)

    def _avg_pool2d(self, x: Array, window: Pair, strides: Pair, pads: Pads, count_padding: bool) -> Array:
        return avg_pool(x, window, strides, pads, count_padding)

    def _einsum(self, terms: Sequence[str], result: str, operands: Sequence[Array]) -> Array:
        return jnp.einsum(f"{','.join(terms)}->{result}", *operands)

    # Positions

    def _scatter(self, x: Array, axis: int, index: Array, source: Array, add: bool) -> Array:
        places: list[Array] = list(jnp.indices(index.shape, dtype=index.dtype, sparse=True))
        places[axis] = jnp.where(index < 0, x.shape[axis], index)  # JAX counts from the end otherwise
        return _put(x, tuple(places), source, add)

    def _index_put(self, x: Array, indices: tuple[Array | None, ...], values: Array, add: bool) -> Array:
        return _put(x, tuple(slice(None) if index is None else index for index in indices), values, add)

    def _topk(self, x: Array, k: int, axis: int) -> tuple[Array, Array]:
        values, positions = lax.top_k(jnp.moveaxis(x, axis, -1), k)
        return jnp.moveaxis(values, -1, axis), jnp.moveaxis(positions, -1, axis)

    def _translate2d(self, x: Array, rows: Array, columns: Array) -> Array:
        if chosen().crop == "products":
            return translated_by_products(x, rows, columns)
        moved: Array = super()._translate2d(x, rows, columns)
        return moved


def _put(x: Array, places: tuple[Any, ...], values: Array, add: bool) -> Array:
    """Positions outside of an axis are left out."""
    at = x.at[places]
    y: Array = at.add(values, mode="drop") if add else at.set(values, mode="drop")
    return y


def _biased(y: Array, bias: Array | None) -> Array:
    """Y + bias. Its gradient sums a whole image in fp32 or wider: XLA adds bf16 up in bf16 on the CPU, 10 % off."""
    if bias is None:
        return y
    wide = jnp.promote_types(bias.dtype, jnp.float32)
    return y + jnp.broadcast_to(bias.astype(wide), y.shape).astype(y.dtype)


for _type in (jax.Array, type(jnp.zeros(())), Tracer, type(jax.random.key(0))):
    register(_type, JaxOps())
