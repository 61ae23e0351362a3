"""The Array API standard on JAX, with the derivatives that hal promises where a function has none; else jax.numpy.

jax.numpy gives 1 for the derivative of abs at 0, half of it at a bound of clip, and NaN for pow(0, 0), atan2(0, 0) and
the std of equal values. A value that is held fixed where it is on a kink has the derivative 0 there.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["abs", "atan2", "clip", "copysign", "hypot", "pow", "std"]

Array = jax.Array


def __getattr__(name: str) -> Any:
    return getattr(jnp, name)


def abs(x: Array, /) -> Array:
    """``|x|``; its derivative at 0 is 0."""
    return jnp.abs(_fixed(x, x == 0) if _floating(x) else x)


def atan2(x1: Any, x2: Any, /) -> Array:
    """The angle of (x2, x1); its derivatives at (0, 0) are 0."""
    return jnp.atan2(*_fixed_at_origin(x1, x2))


def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """X within bounds; at a bound the derivative with respect to x is 1, that with respect to the bound 0."""
    if not _floating(x):
        return jnp.clip(x, min, max)
    y = x if min is None else jnp.where(x < min, min, x)
    return y if max is None else jnp.where(y > max, max, y)


def copysign(x1: Any, x2: Any, /) -> Array:
    """The magnitude of x1 with the sign of x2; the derivative where x1 is 0 is 0."""
    return jnp.copysign(_fixed(x1, x1 == 0), x2)


def hypot(x1: Any, x2: Any, /) -> Array:
    """``sqrt(x1² + x2²)`` without overflow; its derivatives at (0, 0) are 0."""
    return jnp.hypot(*_fixed_at_origin(x1, x2))


def pow(x1: Any, x2: Any, /) -> Array:
    """``x1 ** x2``; the derivative with respect to x1 where x2 is 0 is 0, at x1 = 0 too."""
    return jnp.pow(_fixed(x1, x2 == 0) if _floating(x1) else x1, x2)


def std(x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """The standard deviation; its derivative where all values are equal is 0."""
    variance = jnp.var(x, axis=axis, correction=correction, keepdims=keepdims)
    none = variance == 0
    return jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, variance)))


def _floating(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)


def _fixed(x: Any, where: Any) -> Any:
    """X, as a constant for differentiation where a condition holds."""
    return jnp.where(where, lax.stop_gradient(x), x)


def _fixed_at_origin(x1: Any, x2: Any) -> tuple[Any, Any]:
    origin = (x1 == 0) & (x2 == 0)
    return tuple(_fixed(x, origin) if _floating(x) else x for x in (x1, x2))
