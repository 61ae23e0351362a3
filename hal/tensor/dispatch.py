"""Finds the ops of an array by its type, and those of a device by its backend: one dict lookup each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hal.errors import UnavailableError
from hal.types import Array

if TYPE_CHECKING:
    from hal.tensor.ops import Ops

__all__ = ["namespace", "ops_on", "register", "register_backend", "serving"]

_OPS: dict[type, Any] = {}
_BACKENDS: dict[str, Callable[[Any], Any]] = {}


def register_backend(name: str, ops: Callable[[Any], Ops]) -> None:
    """Say what gives the ops bound to a device of a backend. The registry does so for each backend that it loads."""
    _BACKENDS[name] = ops


def ops_on(device: Any) -> Ops:
    """The ops bound to a device.

    Raises:
        UnavailableError: the device's backend was not loaded in this process.
    """
    if device.backend not in _BACKENDS:
        raise UnavailableError(
            f"{device} was described by another process: backend {device.backend} is not loaded in this one",
            fix=f'get the device here: hal.device("{device}")',
        )
    ops: Ops = _BACKENDS[device.backend](device)
    return ops


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
    raise TypeError(
        f"hal.ops was given a {array_type.__name__}, but no loaded backend uses this type; the types of the "
        f"loaded backends: {served}"
    )
