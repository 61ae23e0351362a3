"""The algorithms that plans choose from, and which of them is at work.

XLA compiles what it is given: on a CPU a convolution and a pooling written as slices and products can be much faster
than its own window operations (docs/benchmarks.md has figures).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hal.contract.plan import Plan
from hal.tensor.shapes import Pads

__all__ = ["Algorithms", "avg_pool", "chosen", "convolve", "max_pool", "translated_by_products", "under"]

Pair = tuple[int, int]
Array = jax.Array
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Algorithms:
    """Values of the plan keys ``conv``, ``pool`` and ``crop``."""

    conv: str = "direct"
    pool: str = "window"
    crop: str = "gather"


_LIBRARY = Algorithms()
_CHOSEN: ContextVar[Algorithms] = ContextVar("hal_jax_algorithms", default=_LIBRARY)


def chosen() -> Algorithms:
    """The algorithms at work."""
    return _CHOSEN.get()


def under(plan: Plan, fn: Function) -> Function:
    """A function that runs, or is traced, with a plan's algorithms."""

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        with _using(Algorithms(plan.conv, plan.pool, plan.crop)):
            return fn(*args)

    return call  # type: ignore[return-value]


@contextlib.contextmanager
def _using(algorithms: Algorithms) -> Iterator[None]:
    token = _CHOSEN.set(algorithms)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def convolve(x: Array, kernel: Array, strides: Pair, pads: Pads, dilation: Pair, groups: int) -> Array:
    """Convolution by the algorithm at work; arguments as those of :meth:`hal.tensor.Ops._conv2d`."""
    if chosen().conv == "patches":
        return _patches(x, kernel, strides, pads, dilation, groups)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _patches(x: Array, kernel: Array, strides: Pair, pads: Pads, dilation: Pair, groups: int) -> Array:
    """Shifted slices side by side, times the kernel as one matrix for each group."""
    height, width, c_in, c_out = kernel.shape
    slices = _slices(_padded(x, pads, 0.0), (height, width), strides, dilation)
    if groups == 1:
        return jnp.concatenate(slices, axis=-1) @ kernel.reshape(-1, c_out)
    split = [s.reshape(*s.shape[:3], groups, c_in) for s in slices]
    matrices = kernel.reshape(height * width * c_in, groups, c_out // groups)
    y = jnp.einsum("nhwgk,kgo->nhwgo", jnp.concatenate(split, axis=-1), matrices)
    return y.reshape(*y.shape[:3], c_out)


def max_pool(x: Array, window: Pair, strides: Pair, pads: Pads, dilation: Pair) -> Array:
    """Max-pooling by the algorithm at work; of several largest values in a window, the first gets the gradient.

    With dilation it is always by slices, since JAX cannot differentiate a window whose values are apart.
    """
    if chosen().pool == "reshape" or dilation != (1, 1):
        return _by_axes(_first_larger, _padded(x, pads, -np.inf), window, strides, dilation)
    lowest = np.array(-np.inf, x.dtype)
    pooled: Array = lax.reduce_window(x, lowest, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))
    return pooled


def avg_pool(x: Array, window: Pair, strides: Pair, pads: Pads, count_padding: bool) -> Array:
    """The mean of each window, by the algorithm at work; over the values inside the image unless ``count_padding``."""
    if chosen().pool == "reshape":
        total = _by_axes(jnp.add, _padded(x, pads, 0.0), window, strides, (1, 1))
    else:
        zero = np.array(0, x.dtype)
        total = lax.reduce_window(x, zero, lax.add, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))
    if count_padding:
        return total / (window[0] * window[1])
    rows = _counts(x.shape[1], window[0], strides[0], pads[0])
    columns = _counts(x.shape[2], window[1], strides[1], pads[1])
    return total / jnp.asarray(np.multiply.outer(rows, columns)[:, :, None], x.dtype)


def _by_axes(combine: Callable[[Array, Array], Array], x: Array, window: Pair, strides: Pair, dilation: Pair) -> Array:
    """Combine the values of each window: first along its rows, then what they gave, so that the first row is first."""
    reach = (window[0] - 1) * dilation[0] + 1
    height = (x.shape[1] - reach) // strides[0] * strides[0] + reach  # what follows is in no window
    x = functools.reduce(combine, _slices(x[:, :height, :, :], (1, window[1]), (1, strides[1]), (1, dilation[1])))
    return functools.reduce(combine, _slices(x, (window[0], 1), (strides[0], 1), (dilation[0], 1)))


def _first_larger(first: Array, second: Array) -> Array:
    """The larger one; the first of two that are equal, with all of the gradient; NaN where one is NaN."""
    return jnp.where((second > first) | jnp.isnan(second), second, first)


def _counts(size: int, window: int, stride: int, pads: Pair) -> np.ndarray:
    """How many values of an axis each window holds, its padding not counted."""
    starts = np.arange(-pads[0], size + pads[1] - window + 1, stride)
    return np.minimum(starts + window, size) - np.maximum(starts, 0)


def _padded(x: Array, pads: Pads, value: float) -> Array:
    if pads == ((0, 0), (0, 0)):
        return x
    return jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=np.array(value, x.dtype))


def _slices(x: Array, window: Pair, strides: Pair, dilation: Pair) -> Sequence[Array]:
    """For each place in a window, that value of every window: (batch, height', width', channels)."""
    height, width = (
        (size - (w - 1) * d - 1) // s + 1 for size, w, s, d in zip(x.shape[1:3], window, strides, dilation, strict=True)
    )
    found = []
    for row in range(window[0]):
        for column in range(window[1]):
            top, left = row * dilation[0], column * dilation[1]
            bottom, right = top + (height - 1) * strides[0] + 1, left + (width - 1) * strides[1] + 1
            found.append(x[:, top : bottom : strides[0], left : right : strides[1], :])
    return found


def translated_by_products(x: Array, rows: Array, columns: Array) -> Array:
    """Images moved by products with matrices of one 1 a row, which is exact; see :meth:`hal.tensor.Ops.translate2d`."""
    down, right = (
        (jnp.arange(size)[:, None] - moves[:, None, None] == jnp.arange(size)).astype(x.dtype)
        for size, moves in ((x.shape[1], rows), (x.shape[2], columns))
    )
    exact: Any = lax.Precision.HIGHEST
    moved = jnp.einsum("nir,nrwc->niwc", down, x, precision=exact)
    return jnp.einsum("njw,niwc->nijc", right, moved, precision=exact)
