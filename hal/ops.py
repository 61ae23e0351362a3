"""The neutral tensor API, dispatched on the type of the arrays: what models are written in.

The functions are those of :class:`hal.tensor.Ops` and of the Array API standard (2024.12); each finds the backend of
its first array by one dict lookup. ``namespace(x)`` gives the whole namespace of an array, creation functions included.

>>> import hal
>>> import numpy as np
>>> x = hal.device("cpu").xp.asarray([-1.0, 2.0])
>>> hal.ops.relu(x).tolist()
[0.0, 2.0]
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from hal.tensor.dispatch import namespace as namespace  # noqa: PLC0414 - exported, as type checkers want it said

_NETWORK = (
    "attention avg_pool2d batch_norm cast conv2d conv2d_transpose cross_entropy dropout elu embedding fold_in gelu gru "
    "layer_norm leaky_relu linear log_softmax lstm max_pool2d relu rnn sigmoid sigmoid_cross_entropy silu softmax "
    "softplus split_key squared_error stop_gradient translate2d"
).split()
_LIKE = ("filled", "normal", "positions", "uniform", "zeros_as")
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

__all__ = sorted([*_NETWORK, *_LIKE, *_STANDARD, *_LISTS, "namespace", "scan"])  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll] - pinned by a test


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


def _make() -> None:
    from hal.tensor.ops import Ops

    for names, make in ((_NETWORK + _STANDARD, _by_first), (_LIKE, _by_like), (_LISTS, _by_element)):
        for name in names:
            function = make(name)
            function.__name__ = function.__qualname__ = name
            source = getattr(Ops, name, None)
            function.__doc__ = (
                source.__doc__ if source is not None else f"``{name}`` of the Array API standard, 2024.12."
            )
            globals()[name] = function


_make()


def __getattr__(name: str) -> Callable[..., Any]:
    near = difflib.get_close_matches(name, __all__, n=1)
    raise AttributeError(f"hal.ops has no function {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
