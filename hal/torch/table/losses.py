"""Losses, with PyTorch's reductions and weights."""

from __future__ import annotations

import math
from typing import Any

from hal.torch.table.call import Call
from hal.torch.table.convolution import channels_last
from hal.torch.table.entries import op
from hal.types import Array

__all__: list[str] = []

_NONE, _MEAN, _SUM = 0, 1, 2


def _reduced(c: Call, losses: Array, reduction: int) -> Array:
    if reduction == _NONE:
        return losses
    return c.xp.mean(losses) if reduction == _MEAN else c.xp.sum(losses)


def _known(c: Call, labels: Array, ignore_index: int) -> tuple[Array, Array]:
    """Which labels count, and the labels with 0 in place of the others."""
    keep = c.xp.not_equal(labels, ignore_index)
    return keep, c.xp.where(keep, labels, c.xp.zeros_like(labels))


@op("cross_entropy_loss")
def _cross_entropy(
    c: Call,
    x: Array,
    target: Array,
    weight: Array | None = None,
    reduction: int = _MEAN,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    logits = channels_last(c, x)
    classes = logits.shape[-1]
    if c.kind(target) == "f":
        shares = channels_last(c, target)
        if label_smoothing:
            shares = c.xp.add(c.xp.multiply(shares, 1 - label_smoothing), label_smoothing / classes)
        log_p = c.xp.log_softmax(logits, axis=-1)
        log_p = log_p if weight is None else c.xp.multiply(log_p, weight)
        losses = c.xp.negative(c.xp.sum(c.xp.multiply(log_p, shares), axis=-1))
        return _reduced(c, losses, reduction)
    keep, labels = _known(c, target, ignore_index)
    if weight is None and not label_smoothing:
        return _of_kept(c, c.xp.cross_entropy(logits, labels), keep, None, reduction)
    log_p = c.xp.log_softmax(logits, axis=-1)
    right = c.xp.negative(_picked(c, log_p, labels))
    own = None if weight is None else c.xp.reshape(c.xp.take(weight, _flat(c, labels), axis=0), tuple(labels.shape))
    losses = right if own is None else c.xp.multiply(right, own)
    if label_smoothing:
        each = log_p if weight is None else c.xp.multiply(log_p, weight)
        smooth = c.xp.multiply(c.xp.sum(each, axis=-1), -label_smoothing / classes)
        losses = c.xp.add(c.xp.multiply(losses, 1 - label_smoothing), smooth)
    return _of_kept(c, losses, keep, own, reduction)


def _flat(c: Call, x: Array) -> Array:
    return c.xp.reshape(x, (-1,))


def _picked(c: Call, x: Array, labels: Array) -> Array:
    """The element of the last axis that a label names."""
    return c.xp.squeeze(c.xp.take_along_axis(x, c.xp.expand_dims(labels, axis=-1), axis=-1), axis=-1)


def _of_kept(c: Call, losses: Array, keep: Array, weight: Array | None, reduction: int) -> Array:
    """Reduce the losses that count; a mean is over their weights."""
    losses = c.xp.where(keep, losses, c.xp.zeros_like(losses))
    if reduction != _MEAN:
        return _reduced(c, losses, reduction)
    each = c.cast(keep, losses.dtype)
    total = c.xp.sum(each if weight is None else c.xp.multiply(each, weight))
    return c.xp.divide(c.xp.sum(losses), total)


@op("nll_loss nll_loss_nd nll_loss2d")
def _nll(
    c: Call, x: Array, target: Array, weight: Array | None = None, reduction: int = _MEAN, ignore_index: int = -100
) -> Array:
    keep, labels = _known(c, target, ignore_index)
    losses = c.xp.negative(_picked(c, channels_last(c, x), labels))
    if weight is None:
        return _of_kept(c, losses, keep, None, reduction)
    own = c.xp.reshape(c.xp.take(weight, _flat(c, labels), axis=0), tuple(labels.shape))
    return _of_kept(c, c.xp.multiply(losses, own), keep, own, reduction)


@op("mse_loss")
def _mse(c: Call, x: Array, target: Array, reduction: int = _MEAN) -> Array:
    return _reduced(c, c.xp.squared_error(*_alike(c, x, target)), reduction)


def _alike(c: Call, x: Array, target: Array) -> list[Array]:
    """Both of one dtype, and of one shape where PyTorch would broadcast them."""
    x, target = c.promoted(x, target)
    if tuple(x.shape) == tuple(target.shape):
        return [x, target]
    zeros = c.xp.zeros_like(c.xp.stop_gradient(c.xp.add(x, target)))
    return [c.xp.add(x, zeros), c.xp.add(target, zeros)]


@op("l1_loss")
def _l1(c: Call, x: Array, target: Array, reduction: int = _MEAN) -> Array:
    return _reduced(c, c.xp.abs(c.xp.subtract(*_alike(c, x, target))), reduction)


@op("smooth_l1_loss")
def _smooth_l1(c: Call, x: Array, target: Array, reduction: int = _MEAN, beta: float = 1.0) -> Array:
    if beta == 0:
        return _l1(c, x, target, reduction)
    distance = c.xp.abs(c.xp.subtract(*_alike(c, x, target)))
    near = c.xp.divide(c.xp.multiply(distance, distance), 2 * beta)
    losses = c.xp.where(c.xp.less(distance, beta), near, c.xp.subtract(distance, beta / 2))
    return _reduced(c, losses, reduction)


@op("huber_loss")
def _huber(c: Call, x: Array, target: Array, reduction: int = _MEAN, delta: float = 1.0) -> Array:
    distance = c.xp.abs(c.xp.subtract(*_alike(c, x, target)))
    near = c.xp.divide(c.xp.multiply(distance, distance), 2)
    far = c.xp.multiply(c.xp.subtract(distance, delta / 2), delta)
    return _reduced(c, c.xp.where(c.xp.less_equal(distance, delta), near, far), reduction)


@op("binary_cross_entropy")
def _bce(c: Call, x: Array, target: Array, weight: Array | None = None, reduction: int = _MEAN) -> Array:
    x, target = _alike(c, x, target)

    def log(p: Array) -> Array:
        return c.xp.clip(c.xp.log(p), -100.0, None)

    right = c.xp.multiply(target, log(x))
    wrong = c.xp.multiply(c.xp.subtract(1.0, target), log(c.xp.subtract(1.0, x)))
    losses = c.xp.negative(c.xp.add(right, wrong))
    return _reduced(c, losses if weight is None else c.xp.multiply(losses, weight), reduction)


@op("binary_cross_entropy_with_logits")
def _bce_with_logits(
    c: Call,
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: int = _MEAN,
) -> Array:
    x, target = _alike(c, x, target)
    if pos_weight is None:
        losses = c.xp.sigmoid_cross_entropy(x, target)
    else:
        # (1 - y) * x + (1 + (w - 1) * y) * softplus(-x)
        factor = c.xp.add(c.xp.multiply(c.xp.subtract(pos_weight, 1.0), target), 1.0)
        negative = c.xp.softplus(c.xp.negative(x))
        losses = c.xp.add(c.xp.multiply(c.xp.subtract(1.0, target), x), c.xp.multiply(factor, negative))
    return _reduced(c, losses if weight is None else c.xp.multiply(losses, weight), reduction)


@op("kl_div")
def _kl_div(c: Call, x: Array, target: Array, reduction: int = _MEAN, *, log_target: bool = False) -> Array:
    x, target = _alike(c, x, target)
    if log_target:
        losses = c.xp.multiply(c.xp.exp(target), c.xp.subtract(target, x))
        return _reduced(c, losses, reduction)
    zero = c.xp.equal(target, 0)
    log = c.xp.log(c.xp.where(zero, c.xp.ones_like(target), target))
    losses = c.xp.where(zero, c.xp.zeros_like(target), c.xp.multiply(target, log))
    return _reduced(c, c.xp.subtract(losses, c.xp.multiply(target, x)), reduction)


@op("soft_margin_loss")
def _soft_margin(c: Call, x: Array, target: Array, reduction: int = _MEAN) -> Array:
    return _reduced(c, c.xp.softplus(c.xp.negative(c.xp.multiply(x, target))), reduction)


@op("poisson_nll_loss")
def _poisson_nll(c: Call, x: Array, target: Array, log_input: bool, full: bool, eps: float, reduction: int) -> Array:
    x, target = _alike(c, x, target)
    if log_input:
        losses = c.xp.subtract(c.xp.exp(x), c.xp.multiply(target, x))
    else:
        losses = c.xp.subtract(x, c.xp.multiply(target, c.xp.log(c.xp.add(x, eps))))
    if full:
        large = c.xp.greater(target, 1)
        safe = c.xp.where(large, target, c.xp.ones_like(target))
        log = c.xp.log(safe)
        term = c.xp.subtract(c.xp.multiply(safe, log), safe)
        stirling = c.xp.add(term, c.xp.multiply(c.xp.add(log, math.log(2 * math.pi)), 0.5))
        losses = c.xp.add(losses, c.xp.where(large, stirling, c.xp.zeros_like(losses)))
    return _reduced(c, losses, reduction)


@op("margin_ranking_loss")
def _margin_ranking(c: Call, a: Array, b: Array, target: Array, margin: float = 0.0, reduction: int = _MEAN) -> Array:
    difference = c.xp.multiply(c.xp.negative(target), c.xp.subtract(a, b))
    return _reduced(c, c.xp.relu(c.xp.add(difference, margin)), reduction)


@op("hinge_embedding_loss")
def _hinge_embedding(c: Call, x: Array, target: Array, margin: float = 1.0, reduction: int = _MEAN) -> Array:
    zeros: Any = c.xp.zeros_like(x)
    apart = c.xp.where(c.xp.not_equal(target, 1), c.xp.relu(c.xp.subtract(margin, x)), zeros)
    return _reduced(c, c.xp.add(apart, c.xp.where(c.xp.not_equal(target, -1), x, zeros)), reduction)
