"""Finds the ops of an array by its type: one dict lookup for types seen before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hal.types import Array

if TYPE_CHECKING:
    from hal.tensor.ops import Ops

__all__ = ["namespace", "register", "serving"]

_OPS: dict[type, Any] = {}


def register(array_type: type, ops: Any) -> None:
    """Say which ops serve arrays of a type and of its subclasses. A backend does so when it is loaded."""
    _OPS[array_type] = ops


def namespace(array: Array) -> Ops:
    """The ops that serve an array.

    Raises:
        TypeError: no loaded backend serves arrays of this type.
    """
    try:
        return _OPS[type(array)]  # type: ignore[no-any-return]
    except KeyError:
        return _inherited(type(array))


@contextlib.contextmanager
def serving(array: Array, ops: Any) -> Iterator[None]:
    """Let other ops serve arrays like one, and all types that its ops serve now, tracers included; then restore them.

    The table is that of the process: other threads see the change too.
    """
    own, before = namespace(array), dict(_OPS)
    _OPS.update({served: ops for served, theirs in before.items() if type(theirs) is type(own)})
    try:
        yield
    finally:
        for served in [served for served, theirs in _OPS.items() if theirs is ops]:
            del _OPS[served]  # types first seen meanwhile are found by inheritance again
            if served in before:
                _OPS[served] = before[served]


def _inherited(array_type: type) -> Ops:
    for base in array_type.__mro__[1:]:
        if base in _OPS:
            _OPS[array_type] = _OPS[base]
            return _OPS[base]  # type: ignore[no-any-return]
    served = ", ".join(sorted(t.__name__ for t in _OPS)) or "none, since no backend is loaded yet"
    raise TypeError(f"hal.ops was given a {array_type.__name__}, which no loaded backend serves; served: {served}")
