"""The data type of what each elementwise function of the standard, and each activation, returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

from hal.backends._traced.dtypes import DType, bool_, floating, promote, real_of
from hal.errors import UnsupportedError

__all__ = ["RESULTS", "Returns", "function_of", "result_of"]

Returns = Literal["same", "floating", "real", "bool", "bits"]
"""The common type of the operands; that made floating; its real part; booleans; or the common type, which must be of
integers or booleans."""


def _all(names: str, returns: Returns) -> dict[str, Returns]:
    return dict.fromkeys(names.split(), returns)


RESULTS: Mapping[str, Returns] = {
    **_all("add subtract multiply where negative positive conj ceil floor floor_divide round sign trunc", "same"),
    **_all("copysign maximum minimum nextafter pow remainder square clip relu leaky_relu", "same"),
    **_all("abs real imag", "real"),
    **_all("divide exp expm1 reciprocal sqrt tanh acos acosh asin asinh atan atan2 atanh cos cosh hypot", "floating"),
    **_all("log log10 log1p log2 logaddexp sin sinh tan elu erf gelu sigmoid silu softplus", "floating"),
    **_all("equal greater greater_equal isfinite isinf isnan less less_equal logical_and logical_not", "bool"),
    **_all("logical_or logical_xor not_equal signbit", "bool"),
    **_all("bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor", "bits"),
}


_OF_TWO = frozenset(
    """add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal
    floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor maximum
    minimum multiply nextafter not_equal pow remainder subtract""".split()
)


def function_of(name: str, elementwise: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the standard, with its parameters.

    Args:
        name: one of :data:`RESULTS`.
        elementwise: computes it, given the name and the operands.
    """
    names = ("condition", "x1", "x2") if name == "where" else ("x1", "x2") if name in _OF_TWO else ("x",)
    parameters = [inspect.Parameter(each, inspect.Parameter.POSITIONAL_ONLY) for each in names]

    def call(*operands: Any) -> Any:
        if len(operands) != len(names):
            raise TypeError(f"{name}() takes {', '.join(names)}, but {len(operands)} arguments were given")
        return elementwise(name, *operands)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"``{name}`` of the Array API standard."
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def result_of(name: str, *operands: Any) -> tuple[DType, DType]:
    """The type in which a function computes, and the type of its result.

    Args:
        name: one of :data:`RESULTS`.
        operands: data types, arrays and Python scalars.

    Raises:
        UnsupportedError: the function does not take this type, or the operands have no common one.
    """
    dtype = promote(*(operands[1:] if name == "where" else operands))
    returns = RESULTS[name]
    if returns == "bits" and dtype.kind not in "biu":
        raise UnsupportedError(f"{name} was given {dtype}", fix="it takes integers and booleans")
    if returns == "floating":
        return floating(dtype), floating(dtype)
    if returns == "real":
        return dtype, real_of(dtype)
    return dtype, bool_ if returns == "bool" else dtype
