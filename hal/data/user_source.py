"""Data from a function of the user's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from hal.data.npz import split_named_arrays
from hal.data.spec import Dataset, Split, Wanted
from hal.data.targets import TaskKey
from hal.errors import ConfigError, DataError, HalError, RequestError
from hal.util.code import file_module, package_module
from hal.util.paths import user_path

__all__ = ["is_user_source", "open_function"]

_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_FORMS = {2: ("x", "y"), 4: ("x_train", "y_train", "x_test", "y_test")}
_FIX = "return (x, y), (x_train, y_train, x_test, y_test), a dict of such arrays by name, or a hal.data.Split"


def is_user_source(source: str) -> bool:
    """Whether a source is code: ``path/to/file.py:function`` or ``package.module:function``."""
    path, colon, name = source.rpartition(":")
    return bool(colon) and name.isidentifier() and (path.endswith(".py") or _PACKAGE.fullmatch(path) is not None)


def open_function(source: str, wanted: Wanted, share: float, seed: int, task: TaskKey = "auto") -> Split:
    """What a function of a user returns: arrays as in an npz file, or data sets.

    Args:
        source: ``path/to/file.py:function`` or ``package.module:function``; called without arguments.
        wanted: what the model asks for.
        share: to hold back, in (0, 1), where the function does not say which samples those are.
        seed: decides which.
        task: what the labels are.

    Raises:
        NotFoundError: there is no such file or module.
        ConfigError: it defines no such function, or the model takes text.
        RequestError: the code fails.
        DataError: what it returns is no data.
    """
    path, _, name = source.rpartition(":")
    module = (
        file_module(str(user_path(path).resolve()), "data") if path.endswith(".py") else package_module(path, "data")
    )
    function = getattr(module, name, None)
    if not callable(function):
        near = difflib.get_close_matches(name, [each for each in dir(module) if callable(getattr(module, each))], n=1)
        raise ConfigError(
            f"{path} defines no function {name}" + (f"; did you mean {near[0]}?" if near else ""),
            fix="write the name of a function that takes no arguments after the colon",
        )
    try:
        found = function()
    except HalError:
        raise
    except Exception as error:
        raise RequestError(
            f"data={source}: the function failed: {type(error).__name__}: {error}",
            fix=f"correct {name}; it is called without arguments",
        ) from error
    if isinstance(found, Split):
        return _checked(source, found)
    if wanted.kind in ("text", "document"):
        raise ConfigError(
            f"data={source} returned arrays, but the model takes {wanted.kind} data",
            fix="return a hal.data.Split, or write the texts to files: data=texts:DIR",
        )
    arrays, class_names = _arrays(source, found)
    return split_named_arrays(
        source, f"what {name} returns", arrays, wanted, share=share, seed=seed, task=task, class_names=class_names
    )


def _checked(source: str, split: Split) -> Split:
    for part in (split.train, split.validation):
        if not isinstance(part, Dataset) or len(part) < 1:
            raise DataError(f"data={source} returned a part that is no data set, or an empty one", fix=_FIX)
    return split


def _arrays(source: str, found: Any) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Arrays by name, and the names of the classes if there are any."""
    names: tuple[str, ...] = ()
    if isinstance(found, tuple | list) and len(found) in _FORMS:
        named: Mapping[str, Any] = dict(zip(_FORMS[len(found)], found, strict=True))
    elif isinstance(found, Mapping):
        named = {str(key): value for key, value in found.items() if key != "class_names"}
        names = tuple(map(str, found.get("class_names", ())))
    else:
        raise DataError(f"data={source} returned {type(found).__name__}, which is no data", fix=_FIX)
    arrays = {}
    for key, value in named.items():
        try:
            arrays[key] = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"data={source}: {key} cannot become an array: {error}", fix=_FIX) from error
    return arrays, names
