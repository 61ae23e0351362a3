"""Random numbers, each op with a key of its own: the graph's, folded with the op's number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hal.torch.table.call import EXPECTED, Call, is_array
from hal.torch.table.entries import op, unsupported
from hal.types import Array

__all__: list[str] = []


def _uniform(c: Call, shape: Sequence[int], dtype: Any) -> Array:
    like = c.full((), 0.5, dtype)
    if c.random is EXPECTED:
        return c.full(shape, 0.5, dtype)
    return c.xp.uniform(c.key, tuple(shape), like=like)


def _normal(c: Call, shape: Sequence[int], dtype: Any) -> Array:
    like = c.full((), 0.0, dtype)
    if c.random is EXPECTED:
        return c.full(shape, 0.0, dtype)
    return c.xp.normal(c.key, tuple(shape), like=like)


@op("native_dropout")
def _native_dropout(c: Call, x: Array, p: float, train: bool | None) -> tuple[Array, None]:
    return (c.dropout(x, p) if train is not False else x), None


@op("dropout")
def _dropout(c: Call, x: Array, p: float, train: bool) -> Array:
    return c.dropout(x, p) if train else x


@op("feature_dropout")
def _feature_dropout(c: Call, x: Array, p: float, train: bool) -> Array:
    if not train:
        return x
    ones = c.xp.filled((*x.shape[:2], *[1] * (len(x.shape) - 2)), 1.0, like=x)
    return c.xp.multiply(x, c.dropout(ones, p))


@op("rand")
def _rand(c: Call, size: Sequence[int], **_: Any) -> Array:
    return _uniform(c, size, c.result)


@op("rand_like")
def _rand_like(c: Call, x: Array, **_: Any) -> Array:
    return _uniform(c, x.shape, c.result)


@op("randn")
def _randn(c: Call, size: Sequence[int], **_: Any) -> Array:
    return _normal(c, size, c.result)


@op("randn_like")
def _randn_like(c: Call, x: Array, **_: Any) -> Array:
    return _normal(c, x.shape, c.result)


@op("uniform")
def _uniform_between(c: Call, x: Array, low: float = 0.0, high: float = 1.0, **_: Any) -> Array:
    return c.xp.add(c.xp.multiply(_uniform(c, x.shape, x.dtype), high - low), low)


@op("normal_functional")
def _normal_of(c: Call, x: Array, mean: float = 0.0, std: float = 1.0, **_: Any) -> Array:
    return c.xp.add(c.xp.multiply(_normal(c, x.shape, x.dtype), std), mean)


@op("exponential")
def _exponential(c: Call, x: Array, lambd: float = 1.0, **_: Any) -> Array:
    drawn = c.xp.subtract(1.0, _uniform(c, x.shape, x.dtype))
    return c.xp.divide(c.xp.negative(c.xp.log(drawn)), lambd)


@op("bernoulli bernoulli.p bernoulli.Tensor")
def _bernoulli(c: Call, x: Array, p: Any = None, **_: Any) -> Array:
    probability = x if p is None else p
    if c.random is EXPECTED:
        return c.full(x.shape, probability, x.dtype) if not is_array(probability) else probability
    drawn = _uniform(c, x.shape, x.dtype)
    return c.cast(c.xp.less(drawn, probability), x.dtype)


@op("randint randint.low")
def _randint(c: Call, low: int, high: Any, size: Any = None, **_: Any) -> Array:
    if size is None:
        low, high, size = 0, low, high
    drawn = c.xp.multiply(_uniform(c, size, c.xp.float32), float(high - low))
    return c.xp.add(c.cast(c.xp.floor(drawn), c.result), low)


@op("randperm")
def _randperm(c: Call, n: int, **_: Any) -> Array:
    return c.cast(c.xp.argsort(_uniform(c, (n,), c.xp.float32)), c.result)


@op("rrelu_with_noise")
def _rrelu(
    c: Call, x: Array, noise: Array, lower: float = 0.125, upper: float = 1 / 3, training: bool = False, *_: Any
) -> Array:
    if training:
        raise unsupported("rrelu in training; use leaky_relu")
    return c.xp.leaky_relu(x, (lower + upper) / 2)


@op("multinomial")
def _multinomial(c: Call, x: Array, num_samples: int, replacement: bool = False, **_: Any) -> Array:
    """One category for each row, by the largest of log-probabilities plus Gumbel noise."""
    if num_samples != 1:
        raise unsupported("multinomial with more than one sample")
    drawn = c.xp.clip(_uniform(c, x.shape, x.dtype), math.ldexp(1, -126), None)
    noise = c.xp.negative(c.xp.log(c.xp.negative(c.xp.log(drawn))))
    return c.cast(c.xp.argmax(c.xp.add(c.xp.log(x), noise), axis=-1, keepdims=True), c.result)
