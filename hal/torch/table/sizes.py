"""Arithmetic of sizes, which are numbers while a graph runs, and what a graph checks about itself."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from hal.torch.table.call import Call
from hal.torch.table.entries import TABLE, op
from hal.types import Array

__all__: list[str] = []


@op("sym_size.int")
def _size(c: Call, x: Array, dim: int) -> int:
    return int(x.shape[dim])


@op("sym_numel")
def _numel(c: Call, x: Array) -> int:
    return math.prod(x.shape)


@op("_assert_tensor_metadata _assert_scalar _assert_async _assert_async.msg sym_constrain_range")
def _nothing(c: Call, *_: Any, **__: Any) -> None:
    """Checks that the capture has made once; sizes that differ later are checked by the ops."""


@op("sym_constrain_range_for_size")
def _no_range(c: Call, *_: Any, **__: Any) -> None:
    """As above."""


def _number(function: Callable[..., Any]) -> Callable[..., Any]:
    def entry(c: Call, *args: Any) -> Any:
        return function(*args)

    return entry


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in "add sub mul floordiv mod truediv neg pow getitem".split()},
    **{name: getattr(operator, name) for name in "eq ne lt le gt ge and_ or_ not_".split()},
    **{name: getattr(math, name) for name in "ceil floor trunc".split()},
    "sym_max": max,
    "sym_min": min,
    "sym_float": float,
    "sym_int": int,
    "sym_not": operator.not_,
    "sym_ite": lambda condition, a, b: a if condition else b,
}
TABLE.update({f"operator::{name}": _number(function) for name, function in _FUNCTIONS.items()})
