"""The table itself, and how entries come into it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from hal.errors import ConfigError, UnsupportedError

__all__ = ["TABLE", "Entry", "entry_of", "op", "register", "translate", "unsupported"]

Function = TypeVar("Function", bound=Callable[..., Any])
Entry: TypeAlias = Callable[..., Any]
"""``entry(call, *args, **kwargs)``: the op's result, in arrays of the backend."""

TABLE: dict[str, Entry] = {}
"""The entries by ``namespace::name.overload``; by ``namespace::name`` those of users that serve all overloads."""


def op(names: str) -> Callable[[Function], Function]:
    """Enter a function under names of ATen's ops: ``add.Tensor add.Scalar``; ``relu`` is short for ``relu.default``."""

    def enter(function: Function) -> Function:
        register(names, function)
        return function

    return enter


def register(names: str, function: Entry) -> None:
    """Enter a function; see :func:`op`."""
    for name in names.split():
        full = f"aten::{name}" if "." in name else f"aten::{name}.default"
        if full in TABLE:
            raise ConfigError(f"the table has two entries for {full}", fix="remove one of them")
        TABLE[full] = function


def entry_of(name: str) -> Entry | None:
    """The entry of an op, by ``namespace::name.overload``; None where there is none."""
    return TABLE.get(name) or TABLE.get(name.partition(".")[0])


def translate(name: str, function: Callable[..., Any]) -> None:
    """Say how an op is computed with hal's neutral ops, so that modules that use it run on every backend.

    Args:
        name: of the op, ``namespace::name`` as in ``torch.ops.namespace.name``; with ``.overload`` for one overload.
            What hal has for this op is replaced.
        function: takes the op's arguments, with the backend's arrays in place of tensors, and returns its result. It
            is written with :mod:`hal.ops`, and its derivative is that of these ops.

    Raises:
        ConfigError: the name is not of this form.

    >>> from hal import ops
    >>> from hal.torch import translate
    >>> translate("mylib::twice", lambda x: ops.add(x, x))
    """
    if not re.fullmatch(r"\w+::\w+(\.\w+)?", name):
        raise ConfigError(f'{name!r} is not the name of an op; write it like "mylib::twice" or "aten::add.Tensor"')

    def entry(_: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    if "." not in name:
        for full in [full for full in TABLE if full.startswith(f"{name}.")]:
            del TABLE[full]
    TABLE[name] = entry


def unsupported(what: str) -> UnsupportedError:
    """The error for an option of an op that has no translation; the capture adds where it is."""
    return UnsupportedError(what)
