"""Elementary functions of complex numbers, from the parts of the operands to those of the result.

Formulas: W. Kahan, "Branch cuts for complex elementary functions" (1987), and for infinite parts the special cases of
the Array API standard, which are those of C99, annex G.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray

__all__ = ["OF_PARTS", "TO_REAL", "Parts"]

Array = OpenclArray
Parts = tuple[Array, Array]

# Functions of real arrays, by short names


_abs, _cos, _cosh, _exp, _expm1, _hypot, _log, _log1p, _sin, _sinh, _sqrt, _tan, _tanh, _asinh, _atan2 = map(
    p.function, "abs cos cosh exp expm1 hypot log log1p sin sinh sqrt tan tanh asinh atan2".split()
)
_and, _copysign, _isfinite, _isinf, _isnan, _not, _or, _round, _where = map(
    p.function, "logical_and copysign isfinite isinf isnan logical_not logical_or round where".split()
)


def _endless(x: Array) -> Array:
    return _not(_isfinite(x))


# Functions of parts


def _add(x: Parts, y: Parts) -> Parts:
    return x[0] + y[0], x[1] + y[1]


def _subtract(x: Parts, y: Parts) -> Parts:
    return x[0] - y[0], x[1] - y[1]


def _multiply(x: Parts, y: Parts) -> Parts:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _divide(x: Parts, y: Parts) -> Parts:
    """By R. L. Smith, Communications of the ACM 5 (1962): nothing overflows on the way that does not at the end."""
    (a, b), (c, d) = x, y
    flat = _abs(c) >= _abs(d)
    large, small = _where(flat, c, d), _where(flat, d, c)
    ratio = _where(c == d, 1.0, small / large)
    divisor = large + small * ratio
    real = _where(flat, a + b * ratio, a * ratio + b) / divisor
    imaginary = _where(flat, b - a * ratio, b * ratio - a) / divisor
    zero = _and(c == 0, d == 0)
    return _where(zero, a / c, real), _where(zero, b / c, imaginary)


def _one(x: Array) -> Parts:
    return p.constant(x.runtime, 1, x.dtype, x.shape), p.constant(x.runtime, 0, x.dtype, x.shape)


def _sign(z: Parts) -> Parts:
    size = _hypot(*z)
    return _where(size == 0, 0.0, z[0] / size), _where(size == 0, 0.0, z[1] / size)


def _exponential(z: Parts) -> Parts:
    a, b = z
    size = _exp(a)
    vanishes, grows = _and(a < 0, _isinf(a)), _and(a > 0, _isinf(a))
    real = _where(_and(vanishes, _endless(b)), 0.0, _where(_and(grows, _endless(b)), a, size * _cos(b)))
    imaginary = _where(b == 0, b, _where(_and(vanishes, _endless(b)), 0.0, size * _sin(b)))
    return _where(_and(b == 0, _isnan(a)), a, real), imaginary


def _exponential_less_one(z: Parts) -> Parts:
    a, b = z
    half = _sin(b * 0.5)
    real, imaginary = _exponential(z)
    close = _expm1(a) * _cos(b) - 2.0 * half * half
    return _where(_isfinite(real), _where(_and(_isinf(a), _endless(b)), -1.0, close), real), imaginary


def _logarithm(z: Parts) -> Parts:
    a, b = z
    return _log(_hypot(a, b)), _atan2(b, a)


def _logarithm_of_one_more(z: Parts) -> Parts:
    a, b = z
    small = _and(_abs(a) < 0.5, _abs(b) < 0.5)
    close = 0.5 * _log1p(_where(small, a * (2.0 + a) + b * b, 0.0))
    return _where(small, close, _log(_hypot(1.0 + a, b))), _atan2(b, 1.0 + a)


def _logarithm_to(base: float) -> Callable[[Parts], Parts]:
    def logarithm(z: Parts) -> Parts:
        real, imaginary = _logarithm(z)
        return real / math.log(base), imaginary / math.log(base)

    return logarithm


def _root(z: Parts) -> Parts:
    a, b = z
    t = _sqrt(_abs(a) * 0.5 + _hypot(a, b) * 0.5)
    zero = t == 0
    other = _where(zero, b, b / (2.0 * _where(zero, 1.0, t)))
    right = _not(a < 0)
    real, imaginary = _where(right, t, _abs(other)), _where(right, other, _copysign(t, b))
    return _where(_isinf(b), _abs(b), real), _where(_isinf(b), b, imaginary)


def _hyperbolic_sine(z: Parts) -> Parts:
    a, b = z
    real = _where(a == 0, a, _where(_and(_isinf(a), _endless(b)), a, _sinh(a) * _cos(b)))
    return _where(_and(b == 0, _not(_isnan(a))), _sinh(a), real), _where(b == 0, b, _cosh(a) * _sin(b))


def _hyperbolic_cosine(z: Parts) -> Parts:
    a, b = z
    real = _where(_and(_isinf(a), _endless(b)), _abs(a), _cosh(a) * _cos(b))
    imaginary = _sinh(a) * _sin(b)
    lies = _and(_isnan(imaginary), _or(a == 0, b == 0))
    return real, _where(lies, 0.0, imaginary)


def _hyperbolic_tangent(z: Parts) -> Parts:
    """Kahan's CTANH."""
    a, b = z
    large = _abs(a) > 20.0
    bounded = _where(large, 0.0, a)
    t, s = _tan(b), _sinh(bounded)
    beta = 1.0 + t * t
    divisor = 1.0 + beta * s * s
    far = 4.0 * _sin(b) * _cos(b) * _exp(-2.0 * _abs(a))
    far = _where(_isinf(a), _copysign(0.0 * _where(_isfinite(a), a, 0.0), b), far)
    one = _where(_isinf(a), 1.0, 1.0 + (b - b))  # NaN where b has no angle
    real = _where(large, _copysign(one, a), beta * _sqrt(1.0 + s * s) * s / divisor)
    imaginary = _where(large, far, t / divisor)
    return _where(_or(a == 0, _isnan(a)), a, real), _where(b == 0, b, imaginary)


# The sign of a zero says on which side of a branch cut a number is, so 1 + z leaves the second part as it is.


def _arc_cosine(z: Parts) -> Parts:
    a, b = z
    below, above = _root((1.0 - a, -b)), _root((1.0 + a, b))
    far = _or(_isinf(a), _isinf(b))
    real = _where(far, _atan2(_abs(b), a), 2.0 * _atan2(below[0], above[0]))
    real = _where(_and(a == 0, _isnan(b)), math.pi / 2, real)
    return real, _where(far, -_copysign(_endless_like(b), b), _asinh(_multiply(_conjugate(above), below)[1]))


def _arc_sine(z: Parts) -> Parts:
    a, b = z
    below, above = _root((1.0 - a, -b)), _root((1.0 + a, b))
    far = _or(_isinf(a), _isinf(b))
    real = _where(far, _copysign(_atan2(_abs(a), _abs(b)), a), _atan2(a, _multiply(below, above)[0]))
    imaginary = _where(far, _copysign(_endless_like(b), b), _asinh(_multiply(_conjugate(below), above)[1]))
    return _where(a == 0, a, real), imaginary


def _area_cosine(z: Parts) -> Parts:
    a, b = z
    below, above = _root((a - 1.0, b)), _root((a + 1.0, b))
    far = _or(_isinf(a), _isinf(b))
    real = _where(far, _endless_like(a), _asinh(_multiply(_conjugate(below), above)[0]))
    imaginary = _where(far, _atan2(b, a), 2.0 * _atan2(below[1], above[0]))
    return real, _where(_and(a == 0, _isnan(b)), math.pi / 2, imaginary)


def _area_tangent(z: Parts) -> Parts:
    a, b = z
    near = 1.0 - _abs(a)
    real = 0.25 * _log1p(4.0 * _abs(a) / (near * near + b * b))
    quarter = 0.5 * _atan2(2.0 * b, (1.0 - a) * (1.0 + a) - b * b)
    far = _or(_isinf(a), _isinf(b))
    side = _copysign(_where(_isnan(b), b, math.pi / 2), b)
    return _copysign(_where(_or(far, a == 0), 0.0, real), a), _where(far, side, quarter)


def _endless_like(x: Array) -> Array:
    return p.constant(x.runtime, math.inf, x.dtype, x.shape)


def _turned(function: Callable[[Parts], Parts]) -> Callable[[Parts], Parts]:
    """F(iz) / i."""

    def turned(z: Parts) -> Parts:
        real, imaginary = function((-z[1], z[0]))
        return imaginary, -real

    return turned


def _cosine(z: Parts) -> Parts:
    return _hyperbolic_cosine((-z[1], z[0]))


def _power(x: Parts, y: Parts) -> Parts:
    real, imaginary = _exponential(_multiply(y, _logarithm(x)))
    nothing, none = _and(x[0] == 0, x[1] == 0), _and(y[0] == 0, y[1] == 0)
    return _where(none, 1.0, _where(nothing, 0.0, real)), _where(_or(none, nothing), 0.0, imaginary)


def _conjugate(z: Parts) -> Parts:
    return z[0], -z[1]


OF_PARTS: Mapping[str, Callable[..., Parts]] = {
    "acos": _arc_cosine,
    "acosh": _area_cosine,
    "add": _add,
    "asin": _arc_sine,
    "asinh": _turned(_arc_sine),
    "atan": _turned(_area_tangent),
    "atanh": _area_tangent,
    "conj": _conjugate,
    "cos": _cosine,
    "cosh": _hyperbolic_cosine,
    "divide": _divide,
    "exp": _exponential,
    "expm1": _exponential_less_one,
    "log": _logarithm,
    "log10": _logarithm_to(10),
    "log1p": _logarithm_of_one_more,
    "log2": _logarithm_to(2),
    "multiply": _multiply,
    "negative": lambda z: (-z[0], -z[1]),
    "positive": lambda z: z,
    "pow": _power,
    "reciprocal": lambda z: _divide(_one(z[0]), z),
    "round": lambda z: (_round(z[0]), _round(z[1])),
    "sign": _sign,
    "sin": _turned(_hyperbolic_sine),
    "sinh": _hyperbolic_sine,
    "sqrt": _root,
    "square": lambda z: _multiply(z, z),
    "subtract": _subtract,
    "tan": _turned(_hyperbolic_tangent),
    "tanh": _hyperbolic_tangent,
}
"""By name, from the parts of the operands to the parts of the result."""

TO_REAL: Mapping[str, Callable[..., Array]] = {
    "abs": lambda z: _hypot(*z),
    "equal": lambda x, y: _and(x[0] == y[0], x[1] == y[1]),
    "imag": lambda z: z[1],
    "isfinite": lambda z: _and(_isfinite(z[0]), _isfinite(z[1])),
    "isinf": lambda z: _or(_isinf(z[0]), _isinf(z[1])),
    "isnan": lambda z: _or(_isnan(z[0]), _isnan(z[1])),
    "not_equal": lambda x, y: _or(x[0] != y[0], x[1] != y[1]),
    "real": lambda z: z[0],
}
"""By name, from the parts of the operands to a real result."""
