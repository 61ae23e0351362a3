"""The neutral tensor API, dispatched on the type of the arrays: what models are written in.

The functions are the ops of :class:`hal.tensor.Ops`, whatever they are, and those of the Array API standard (2024.12);
each finds the backend of its first array by one dict lookup. ``namespace(x)`` gives the whole namespace of an array,
creation functions included.

>>> import hal
>>> import numpy as np
>>> x = hal.device("cpu").xp.asarray([-1.0, 2.0])
>>> hal.ops.relu(x).tolist()
[0.0, 2.0]
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from hal.tensor import OPS, Ops
from hal.tensor.dispatch import namespace as namespace  # noqa: PLC0414 - exported, as type checkers want it said

_STANDARD = (
    "abs acos acosh add all any argmax argmin argsort asin asinh astype atan atan2 atanh bitwise_and bitwise_invert "
    "bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor broadcast_to ceil clip conj copysign cos cosh "
    "count_nonzero cumulative_prod cumulative_sum diff divide empty_like equal exp expand_dims expm1 flip floor "
    "floor_divide full_like greater greater_equal hypot imag isfinite isinf isnan less less_equal log log10 log1p "
    "log2 logaddexp logical_and logical_not logical_or logical_xor matmul matrix_transpose max maximum mean min "
    "minimum moveaxis multiply negative nextafter nonzero not_equal ones_like permute_dims positive pow prod real "
    "reciprocal remainder repeat reshape roll round searchsorted sign signbit sin sinh sort sqrt square squeeze std "
    "subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc unique_all unique_counts "
    "unique_inverse unique_values unstack var vecdot where zeros_like"
).split()
_LISTS = ("concat", "stack")

# Type checkers know each name through __getattr__ below, as a function; a test pins the list.
__all__ = sorted({*OPS, *_STANDARD, *_LISTS, "namespace"})  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll] - the names come from the class


def _by_first(name: str) -> Callable[..., Any]:
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(namespace(x), name)(x, *args, **kwargs)

    return call


def _by_like(name: str) -> Callable[..., Any]:
    def call(*args: Any, like: Any, **kwargs: Any) -> Any:
        return getattr(namespace(like), name)(*args, like=like, **kwargs)

    return call


def _by_element(name: str) -> Callable[..., Any]:
    def call(arrays: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(namespace(arrays[0]), name)(arrays, *args, **kwargs)

    return call


def scan(fn: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any) -> tuple[Any, Any]:
    """Carry a value through a sequence; see :meth:`hal.tensor.Ops.scan`."""
    return namespace(xs).scan(fn, init, xs)


def einsum(equation: str, *operands: Any) -> Any:
    """A sum of products in Einstein's notation; see :meth:`hal.tensor.Ops.einsum`."""
    return namespace(operands[0]).einsum(equation, *operands)


def _dispatched(name: str, op: Callable[..., Any] | None) -> Callable[..., Any]:
    """A function that finds the backend by ``like`` where the op has it, else by the first argument."""
    if name in _LISTS:
        function = _by_element(name)
    elif op is not None and "like" in inspect.signature(op).parameters:
        function = _by_like(name)
    else:
        function = _by_first(name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``{name}`` of the Array API standard, 2024.12." if op is None else op.__doc__
    return function


for _name in __all__:
    if _name not in globals():
        globals()[_name] = _dispatched(_name, getattr(Ops, _name, None))


def __getattr__(name: str) -> Callable[..., Any]:
    near = difflib.get_close_matches(name, __all__, n=1)
    raise AttributeError(f"hal.ops has no function {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
