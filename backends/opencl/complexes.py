"""Functions of complex numbers, written with those of their parts.

In memory a complex number is two real ones side by side. Kernels only take them apart and put them together: ``real``,
``imag`` and ``complex`` are the elementwise functions that they know. What is computed in between is real, and fused
like everything else.

The gradient of a real loss with respect to z = a + bi is dL/da + i dL/db. Through a function f that has a complex
derivative it is multiplied by the conjugate of f'(z).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from hal.backends._traced import dtypes
from hal.backends._traced.dtypes import DType, bool_
from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.complex_formulas import OF_PARTS, TO_REAL, Parts
from hal.errors import UnsupportedError

__all__ = ["PRIMITIVES"]

Array = OpenclArray

_MOST_FACTORS = 8
_COMPLEX: Mapping[str, DType] = {"float32": dtypes.complex64, "float64": dtypes.complex128}


def _parts(x: Array) -> Parts:
    if x.dtype.kind != "c":
        return x, p.constant(x.runtime, 0, x.dtype, x.shape)
    if x.op == "map" and x.attributes == "complex":
        return x.sources[0], x.sources[1]
    real = dtypes.real_of(x.dtype)
    return p.mapped("real", (x,), real), p.mapped("imag", (x,), real)


def _joined(parts: Parts) -> Array:
    real, imaginary = parts
    return p.mapped("complex", (real, imaginary), _COMPLEX[real.dtype.name])


def converted(x: Array, dtype: DType) -> Array:
    """Numbers in another type, where one of the types is complex.

    Raises:
        UnsupportedError: complex numbers are to become real ones.
    """
    if dtype == bool_:
        real, imaginary = _parts(x)
        return p.elementwise("logical_or", real != 0, imaginary != 0)
    if dtype.kind != "c":
        raise UnsupportedError(f"{x.dtype} cannot become {dtype}", fix="take real(x), imag(x) or abs(x)")
    part = dtypes.real_of(dtype)
    real, imaginary = _parts(x)
    return _joined((p.cast(real, part), p.cast(imaginary, part)))


def elementwise(name: str, operands: Sequence[Array]) -> Array:
    """A function of complex arrays of one shape; of ``where`` the first is of booleans.

    Raises:
        UnsupportedError: it is not defined for complex numbers.
    """
    if name == "where":
        (a, b), (c, d) = _parts(operands[1]), _parts(operands[2])
        return _joined((p.elementwise(name, operands[0], a, c), p.elementwise(name, operands[0], b, d)))
    if name == "pow" and (exponent := _small_power(operands[1])) is not None:
        return _multiplied(operands[0], exponent)
    given = [_parts(x) for x in operands]
    if name in TO_REAL:
        return TO_REAL[name](*given)
    if name not in OF_PARTS:
        raise UnsupportedError(f"{name} was given complex numbers", fix="it takes real ones")
    value = _joined(OF_PARTS[name](*given))
    if name not in _DERIVATIVES or not any(x.tracked for x in operands):
        return value

    def derivative(gradient: Array) -> Sequence[Array]:
        slopes = _DERIVATIVES[name](value, *operands)
        return [gradient * p.elementwise("conj", slope) for slope in slopes]

    return p.custom(value, operands, derivative)


def _small_power(exponent: Array) -> int | None:
    """The number of times that a base is multiplied, where it is a small constant."""
    while exponent.op in ("expand", "reshape"):
        (exponent,) = exponent.sources
    if exponent.op != "constant":
        return None
    value = complex(exponent.attributes)
    return int(value.real) if value.imag == 0 and value.real in range(1, _MOST_FACTORS + 1) else None


def _multiplied(x: Array, count: int) -> Array:
    product = x
    for _ in range(count - 1):
        product = p.elementwise("multiply", product, x)
    return product


def reduced(kind: str, x: Array, axes: Sequence[int]) -> Array:
    """A sum or product of complex numbers over axes, which are left with size 1.

    Raises:
        UnsupportedError: another reduction.
    """
    if kind == "sum":
        real, imaginary = _parts(x)
        return _joined((p.reduce(kind, real, axes), p.reduce(kind, imaginary, axes)))
    if kind != "prod":
        raise UnsupportedError(f"{kind} was given complex numbers", fix="it takes real ones")
    for axis in axes:
        while (length := x.shape[axis]) > 1:  # halves, multiplied with each other
            halves = [_slice(x, axis, start, length // 2) for start in (0, length // 2)]
            rest = [_slice(x, axis, length - 1, 1)] if length % 2 else []
            x = p.concat([p.elementwise("multiply", *halves), *rest], axis)
    return x


def _slice(x: Array, axis: int, start: int, count: int) -> Array:
    shape = [count if at == axis else n for at, n in enumerate(x.shape)]
    return p.cut(x, [start if at == axis else 0 for at in range(x.ndim)], (1,) * x.ndim, shape)


def cumulative(kind: str, x: Array) -> Array:
    """Sums or products of complex numbers up to each along the last axis."""
    if kind == "sum":
        real, imaginary = _parts(x)
        return _joined((p.cumulate(kind, real), p.cumulate(kind, imaginary)))
    step, last, length = 1, x.ndim - 1, x.shape[-1]
    while step < length:  # each takes in the product that ends before its own begins
        later, earlier = _slice(x, last, step, length - step), _slice(x, last, 0, length - step)
        x = p.concat([_slice(x, last, 0, step), p.elementwise("multiply", later, earlier)], last)
        step *= 2
    return x


def product(a: Array, b: Array, contract: Callable[[Array, Array], Array]) -> Array:
    """A sum of products, from four real ones.

    Args:
        a: an operand.
        b: the other one.
        contract: sums products of real arrays of these shapes.
    """
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return _joined((contract(ar, br) - contract(ai, bi), contract(ar, bi) + contract(ai, br)))


_cosine_of, _sine_of, _cosh_of, _sinh_of, _log_of, _root_of = map(p.function, "cos sin cosh sinh log sqrt".split())

# Of each operand, given the value and the operands. Formulas for values choose by cases, which have no derivatives.
_DERIVATIVES: Mapping[str, Callable[..., Sequence[Array]]] = {
    "acos": lambda y, z: [-1.0 / (_root_of(1.0 - z) * _root_of(1.0 + z))],
    "acosh": lambda y, z: [1.0 / (_root_of(z - 1.0) * _root_of(z + 1.0))],
    "asin": lambda y, z: [1.0 / (_root_of(1.0 - z) * _root_of(1.0 + z))],
    "asinh": lambda y, z: [1.0 / (_root_of(1.0 - 1j * z) * _root_of(1.0 + 1j * z))],
    "atan": lambda y, z: [1.0 / (1.0 + z * z)],
    "atanh": lambda y, z: [1.0 / (1.0 - z * z)],
    "cos": lambda y, z: [-_sine_of(z)],
    "cosh": lambda y, z: [_sinh_of(z)],
    "divide": lambda y, a, b: [1.0 / b, -y / b],
    "exp": lambda y, z: [y],
    "expm1": lambda y, z: [y + 1.0],
    "log": lambda y, z: [1.0 / z],
    "log10": lambda y, z: [1.0 / (z * math.log(10))],
    "log1p": lambda y, z: [1.0 / (1.0 + z)],
    "log2": lambda y, z: [1.0 / (z * math.log(2))],
    "pow": lambda y, a, b: [y * b / a, y * _log_of(a)],
    "reciprocal": lambda y, z: [-y * y],
    "sin": lambda y, z: [_cosine_of(z)],
    "sinh": lambda y, z: [_cosh_of(z)],
    "sqrt": lambda y, z: [0.5 / y],
    "tan": lambda y, z: [1.0 + y * y],
    "tanh": lambda y, z: [1.0 - y * y],
}

PRIMITIVES: Mapping[str, Callable[..., Array]] = {
    "converted": converted,
    "cumulative": cumulative,
    "elementwise": elementwise,
    "product": product,
    "reduced": reduced,
}
"""The primitives on complex numbers."""
