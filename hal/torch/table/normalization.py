"""Normalization over the batch, over groups of channels and over features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hal.torch.table.call import Call
from hal.torch.table.convolution import channels_first, channels_last
from hal.torch.table.entries import op, unsupported
from hal.types import Array

__all__: list[str] = []


def _batch_norm(
    c: Call,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array | None,
    variance: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    given = next((v for v in (weight, bias, mean, variance) if v is not None), None)
    like = given if given is not None else x
    size = (x.shape[1],)
    ones, zeros = c.xp.filled(size, 1.0, like=like), c.xp.zeros_as(size, like=like)
    y, mean, variance = c.xp.batch_norm(
        channels_last(c, x),
        ones if weight is None else weight,
        zeros if bias is None else bias,
        zeros if mean is None else mean,
        ones if variance is None else variance,
        training=training,
        momentum=1 - momentum,
        epsilon=eps,
    )
    return channels_first(c, y), mean, variance


@op("batch_norm")
def _plain(c: Call, x: Array, *args: Any, **kwargs: Any) -> Array:
    weight, bias, mean, variance, training, momentum, eps = args[:7]
    return _batch_norm(c, x, weight, bias, mean, variance, training or mean is None, momentum, eps)[0]


@op("_native_batch_norm_legit_functional")
def _updating(
    c: Call, x: Array, weight: Array | None, bias: Array | None, mean: Array, variance: Array, training: bool,
    momentum: float, eps: float,
) -> tuple[Array, None, None, Array, Array]:  # fmt: skip
    y, mean, variance = _batch_norm(c, x, weight, bias, mean, variance, training, momentum, eps)
    return y, None, None, mean, variance


@op("_native_batch_norm_legit_no_training")
def _inference(
    c: Call, x: Array, weight: Array | None, bias: Array | None, mean: Array, variance: Array, momentum: float,
    eps: float,
) -> tuple[Array, None, None]:  # fmt: skip
    return _batch_norm(c, x, weight, bias, mean, variance, False, momentum, eps)[0], None, None


@op("_native_batch_norm_legit.no_stats")
def _without_statistics(
    c: Call, x: Array, weight: Array | None, bias: Array | None, training: bool, momentum: float, eps: float
) -> tuple[Array, None, None]:
    return _batch_norm(c, x, weight, bias, None, None, True, momentum, eps)[0], None, None


def _affine(c: Call, y: Array, weight: Array | None, bias: Array | None) -> Array:
    """Times weight, plus bias, of each channel."""
    shape = (-1, *[1] * (len(y.shape) - 2))
    y = y if weight is None else c.xp.multiply(y, c.xp.reshape(weight, shape))
    return y if bias is None else c.xp.add(y, c.xp.reshape(bias, shape))


@op("instance_norm")
def _instance_norm(
    c: Call,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array | None,
    variance: Array | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: bool,
) -> Array:
    if not use_input_stats:
        return _batch_norm(c, x, weight, bias, mean, variance, False, momentum, eps)[0]
    if mean is not None:
        raise unsupported("instance_norm that updates running statistics; pass track_running_stats=False")
    return _grouped(c, x, x.shape[1], weight, bias, eps)


@op("group_norm")
def _group_norm(
    c: Call, x: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5,
    *_: bool,
) -> Array:  # fmt: skip
    return _grouped(c, x, num_groups, weight, bias, eps)


@op("native_group_norm")
def _native_group_norm(
    c: Call, x: Array, weight: Array | None, bias: Array | None, n: int, channels: int, size: int, group: int,
    eps: float,
) -> tuple[Array, None, None]:  # fmt: skip
    return _grouped(c, x, group, weight, bias, eps), None, None


def _grouped(c: Call, x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float) -> Array:
    like = next((v for v in (weight, bias) if v is not None), x)
    scale = c.xp.filled((x.shape[1],), 1.0, like=like) if weight is None else weight
    offset = c.xp.zeros_as((x.shape[1],), like=like) if bias is None else bias
    return channels_first(c, c.xp.group_norm(channels_last(c, x), groups, scale, offset, epsilon=eps))


@op("layer_norm")
def _layer_norm(
    c: Call, x: Array, normalized_shape: Sequence[int], weight: Array | None = None, bias: Array | None = None,
    eps: float = 1e-5, *_: bool,
) -> Array:  # fmt: skip
    size = (math.prod(normalized_shape),)
    flat = x if len(normalized_shape) == 1 else c.xp.reshape(x, (*x.shape[: -len(normalized_shape)], *size))
    like = next((v for v in (weight, bias) if v is not None), x)
    scale = c.xp.filled(size, 1.0, like=like) if weight is None else _flat(c, weight)
    offset = c.xp.zeros_as(size, like=like) if bias is None else _flat(c, bias)
    y = c.xp.layer_norm(flat, scale, offset, epsilon=eps)
    return y if flat is x else c.xp.reshape(y, tuple(x.shape))


def _flat(c: Call, x: Array) -> Array:
    return x if len(x.shape) == 1 else c.xp.reshape(x, (-1,))


@op("native_layer_norm")
def _native_layer_norm(
    c: Call, x: Array, normalized_shape: Sequence[int], weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, None, None]:
    return _layer_norm(c, x, normalized_shape, weight, bias, eps), None, None


@op("rms_norm")
def _rms_norm(
    c: Call, x: Array, normalized_shape: Sequence[int], weight: Array | None = None, eps: float | None = None
) -> Array:
    axes = tuple(range(len(x.shape) - len(normalized_shape), len(x.shape)))
    epsilon = float(c.xp.finfo(x.dtype).eps) if eps is None else eps
    mean = c.xp.mean(c.xp.multiply(x, x), axis=axes, keepdims=True)
    y = c.xp.divide(x, c.xp.sqrt(c.xp.add(mean, epsilon)))
    return y if weight is None else c.xp.multiply(y, weight)
