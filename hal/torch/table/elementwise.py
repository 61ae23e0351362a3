"""Arithmetic and functions of single elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hal.torch.table.call import Call, is_array
from hal.torch.table.entries import op, register
from hal.types import Array

__all__: list[str] = []


def _functions(names: str, *, floating: bool) -> None:
    """Functions that the neutral API has under the same name; for integers the floating ones give fp32."""

    def make(name: str) -> Callable[..., Array]:
        def entry(c: Call, x: Array) -> Array:
            return getattr(c.xp, name)(c.floating(x) if floating else x)

        return entry

    for name in names.split():
        register(name, make(name))


_functions(
    "acos acosh asin asinh atan atanh cos cosh erf exp expm1 log log10 log1p log2 sigmoid sin sinh", floating=True
)
_functions("sqrt tan tanh relu silu", floating=True)
_functions("abs sign square", floating=False)


def _rounding(names: str) -> None:
    def make(name: str) -> Callable[..., Array]:
        def entry(c: Call, x: Array) -> Array:
            return getattr(c.xp, name)(x) if c.kind(x) == "f" else x

        return entry

    for name in names.split():
        register(name, make(name))


_rounding("ceil floor trunc")


@op("round round.decimals")
def _round(c: Call, x: Array, *, decimals: int = 0) -> Array:
    if c.kind(x) != "f":
        return x
    if not decimals:
        return c.xp.round(x)
    scale = 10.0**decimals
    return c.xp.divide(c.xp.round(c.xp.multiply(x, scale)), scale)


@op("frac")
def _frac(c: Call, x: Array) -> Array:
    return c.xp.subtract(x, c.xp.trunc(x))


@op("neg")
def _neg(c: Call, x: Array) -> Array:
    return c.xp.negative(x)


@op("rsqrt")
def _rsqrt(c: Call, x: Array) -> Array:
    return c.xp.divide(1.0, c.xp.sqrt(c.floating(x)))


@op("reciprocal")
def _reciprocal(c: Call, x: Array) -> Array:
    return c.xp.divide(1.0, c.floating(x))


@op("sinc")
def _sinc(c: Call, x: Array) -> Array:
    zero = c.xp.equal(x, 0)
    angle = c.xp.multiply(c.xp.where(zero, c.xp.ones_like(x), x), math.pi)
    return c.xp.where(zero, c.xp.ones_like(x), c.xp.divide(c.xp.sin(angle), angle))


# Activations


@op("gelu")
def _gelu(c: Call, x: Array, approximate: str = "none") -> Array:
    return c.xp.gelu(x, exact=approximate == "none")


@op("leaky_relu")
def _leaky_relu(c: Call, x: Array, negative_slope: float = 0.01) -> Array:
    return c.xp.leaky_relu(x, negative_slope)


@op("prelu")
def _prelu(c: Call, x: Array, weight: Array) -> Array:
    if len(x.shape) > 1 and weight.shape[0] != 1:
        weight = c.xp.reshape(weight, (-1, *[1] * (len(x.shape) - 2)))
    return c.xp.where(c.xp.greater(x, 0), x, c.xp.multiply(x, weight))


@op("elu")
def _elu(c: Call, x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    if alpha == scale == input_scale == 1:
        return c.xp.elu(x)
    positive = c.xp.greater(x, 0)
    below = c.xp.where(positive, c.xp.zeros_like(x), x)
    curve = c.xp.multiply(c.xp.expm1(c.xp.multiply(below, input_scale)), alpha * scale)
    return c.xp.where(positive, c.xp.multiply(x, scale), curve)


@op("celu")
def _celu(c: Call, x: Array, alpha: float = 1.0) -> Array:
    return _elu(c, x, alpha, 1.0, 1.0 / alpha)


@op("selu")
def _selu(c: Call, x: Array) -> Array:
    return _elu(c, x, 1.6732632423543772, 1.0507009873554805)


@op("softplus")
def _softplus(c: Call, x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    scaled = x if beta == 1 else c.xp.multiply(x, beta)
    y = c.xp.softplus(scaled)
    return c.xp.where(c.xp.greater(scaled, threshold), x, y if beta == 1 else c.xp.divide(y, beta))


@op("log_sigmoid")
def _log_sigmoid(c: Call, x: Array) -> Array:
    return c.xp.negative(c.xp.softplus(c.xp.negative(x)))


@op("mish")
def _mish(c: Call, x: Array) -> Array:
    return c.xp.multiply(x, c.xp.tanh(c.xp.softplus(x)))


def _between(c: Call, x: Array, low: float, high: float) -> Array:
    """X within bounds, with the derivative 0 at the bounds, as PyTorch's activations have it."""
    inside = c.xp.logical_and(c.xp.greater(x, low), c.xp.less(x, high))
    return c.xp.where(inside, x, c.xp.stop_gradient(c.xp.clip(x, low, high)))


@op("hardtanh")
def _hardtanh(c: Call, x: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    return _between(c, x, min_val, max_val)


@op("relu6")
def _relu6(c: Call, x: Array) -> Array:
    return _between(c, x, 0.0, 6.0)


@op("hardsigmoid")
def _hardsigmoid(c: Call, x: Array) -> Array:
    return c.xp.divide(_between(c, c.xp.add(x, 3.0), 0.0, 6.0), 6.0)


@op("hardswish")
def _hardswish(c: Call, x: Array) -> Array:
    return c.xp.multiply(x, _hardsigmoid(c, x))


@op("hardshrink")
def _hardshrink(c: Call, x: Array, lambd: float = 0.5) -> Array:
    return c.xp.where(c.xp.greater(c.xp.abs(x), lambd), x, c.xp.zeros_like(x))


@op("softshrink")
def _softshrink(c: Call, x: Array, lambd: float = 0.5) -> Array:
    shrunk = c.xp.subtract(x, c.xp.multiply(c.xp.sign(x), lambd))
    return c.xp.where(c.xp.greater(c.xp.abs(x), lambd), shrunk, c.xp.zeros_like(x))


@op("threshold")
def _threshold(c: Call, x: Array, threshold: float, value: float) -> Array:
    return c.xp.where(c.xp.greater(x, threshold), x, c.array(value, x))


@op("glu")
def _glu(c: Call, x: Array, dim: int = -1) -> Array:
    axis, half = dim % len(x.shape), x.shape[dim] // 2
    before = (slice(None),) * axis
    return c.xp.multiply(x[(*before, slice(None, half), ...)], c.xp.sigmoid(x[(*before, slice(half, None), ...)]))


# Two arguments


def _scaled(c: Call, x: Any, factor: Any) -> Any:
    return x if factor == 1 else c.xp.multiply(x, factor) if is_array(x) else x * factor


@op("add.Tensor add.Scalar")
def _add(c: Call, a: Array, b: Any, alpha: Any = 1) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.logical_or(a, b) if c.kind(a) == "b" else c.xp.add(a, _scaled(c, b, alpha))


@op("sub.Tensor sub.Scalar subtract.Tensor")
def _sub(c: Call, a: Array, b: Any, alpha: Any = 1) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.subtract(a, _scaled(c, b, alpha))


@op("rsub.Tensor rsub.Scalar")
def _rsub(c: Call, a: Array, b: Any, alpha: Any = 1) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.subtract(b, _scaled(c, a, alpha))


@op("mul.Tensor mul.Scalar")
def _mul(c: Call, a: Array, b: Any) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.logical_and(a, c.array(b, a)) if c.kind(a) == "b" else c.xp.multiply(a, b)


@op("div.Tensor div.Scalar true_divide.Tensor")
def _div(c: Call, a: Array, b: Any) -> Array:
    a, b = c.promoted(a, b, floating=True)
    return c.xp.divide(a, b)


@op("div.Tensor_mode div.Scalar_mode")
def _div_mode(c: Call, a: Array, b: Any, *, rounding_mode: str | None = None) -> Array:
    if rounding_mode is None:
        return _div(c, a, b)
    a, b = c.promoted(a, b)
    if rounding_mode == "floor":
        return c.xp.floor_divide(a, b)
    if c.kind(a) == "f":
        return c.xp.trunc(c.xp.divide(a, b))
    quotient = c.xp.floor_divide(c.xp.abs(a), abs(b) if not is_array(b) else c.xp.abs(b))
    same = c.xp.equal(c.xp.less(a, 0), c.xp.less(c.array(b, a), 0))
    return c.xp.where(same, quotient, c.xp.negative(quotient))


@op("floor_divide floor_divide.Scalar")
def _floor_divide(c: Call, a: Array, b: Any) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.floor_divide(a, b)


@op("remainder.Tensor remainder.Scalar")
def _remainder(c: Call, a: Array, b: Any) -> Array:
    a, b = c.promoted(a, b)
    return c.xp.remainder(a, b)


@op("fmod.Tensor fmod.Scalar")
def _fmod(c: Call, a: Array, b: Any) -> Array:
    a, b = c.promoted(a, b)
    b = c.array(b, a)
    rest = c.xp.remainder(c.xp.abs(a), c.xp.abs(b))
    return c.xp.where(c.xp.less(a, 0), c.xp.negative(rest), rest)


@op("pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar")
def _pow(c: Call, a: Any, b: Any) -> Array:
    if not is_array(b):
        if b == 2:
            return c.xp.multiply(a, a)
        if b == 3:
            return c.xp.multiply(c.xp.multiply(a, a), a)
        if b == 0.5:
            return c.xp.sqrt(c.floating(a))
    a, b = c.promoted(a, b)
    return c.xp.pow(a if is_array(a) else c.array(a, b), b)


@op("maximum max.other")
def _maximum(c: Call, a: Array, b: Array) -> Array:
    return c.xp.maximum(*c.promoted(a, b))


@op("minimum min.other")
def _minimum(c: Call, a: Array, b: Array) -> Array:
    return c.xp.minimum(*c.promoted(a, b))


@op("fmax")
def _fmax(c: Call, a: Array, b: Array) -> Array:
    return c.xp.maximum(*_numbers(c, a, b))


@op("fmin")
def _fmin(c: Call, a: Array, b: Array) -> Array:
    return c.xp.minimum(*_numbers(c, a, b))


def _numbers(c: Call, a: Array, b: Array) -> list[Array]:
    """Both arrays, with the other's value where one is NaN."""
    a, b = c.promoted(a, b)
    if c.kind(a) != "f":
        return [a, b]
    return [c.xp.where(c.xp.isnan(a), b, a), c.xp.where(c.xp.isnan(b), a, b)]


@op("atan2")
def _atan2(c: Call, a: Array, b: Array) -> Array:
    return c.xp.atan2(*c.promoted(a, b, floating=True))


@op("hypot")
def _hypot(c: Call, a: Array, b: Array) -> Array:
    return c.xp.hypot(*c.promoted(a, b))


@op("logaddexp")
def _logaddexp(c: Call, a: Array, b: Array) -> Array:
    return c.xp.logaddexp(*c.promoted(a, b))


@op("copysign.Tensor")
def _copysign(c: Call, a: Array, b: Array) -> Array:
    return c.xp.copysign(*c.promoted(a, b, floating=True))


@op("xlogy.Tensor")
def _xlogy(c: Call, a: Array, b: Array) -> Array:
    a, b = c.promoted(a, b, floating=True)
    zero = c.xp.equal(a, 0)
    product = c.xp.multiply(a, c.xp.log(c.xp.where(zero, c.xp.ones_like(b), b)))
    return c.xp.where(zero, c.xp.zeros_like(product), product)


# Three arguments


@op("clamp clamp.Tensor clip")
def _clamp(c: Call, x: Array, min: Any = None, max: Any = None) -> Array:
    x, *bounds = c.promoted(x, *(bound for bound in (min, max) if bound is not None))
    given = iter(bounds)
    return c.xp.clip(x, None if min is None else next(given), None if max is None else next(given))


@op("clamp_min clamp_min.Tensor")
def _clamp_min(c: Call, x: Array, min: Any) -> Array:
    return _clamp(c, x, min)


@op("clamp_max clamp_max.Tensor")
def _clamp_max(c: Call, x: Array, max: Any) -> Array:
    return _clamp(c, x, None, max)


@op("addcmul")
def _addcmul(c: Call, x: Array, a: Array, b: Array, *, value: Any = 1) -> Array:
    x, a, b = c.promoted(x, a, b)
    return c.xp.add(x, _scaled(c, c.xp.multiply(a, b), value))


@op("addcdiv")
def _addcdiv(c: Call, x: Array, a: Array, b: Array, *, value: Any = 1) -> Array:
    x, a, b = c.promoted(x, a, b)
    return c.xp.add(x, _scaled(c, c.xp.divide(a, b), value))


@op("lerp.Scalar lerp.Tensor")
def _lerp(c: Call, start: Array, end: Array, weight: Any) -> Array:
    return c.xp.add(start, c.xp.multiply(c.xp.subtract(end, start), weight))
