"""Imports code that a user names on the command line."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from hal.errors import ConfigError, NotFoundError, RequestError

__all__ = ["file_module", "package_module"]


@functools.cache
def file_module(path: str, key: str) -> ModuleType:
    """The module in a Python file of a user, which is run once.

    Args:
        path: absolute.
        key: the key that names it, for messages.

    Raises:
        NotFoundError: there is no such file.
        RequestError: it fails while it is imported.
    """
    if not Path(path).is_file():
        raise NotFoundError(
            f"there is no file {path}",
            fix=f"write the path of a Python file and the name of what it defines: {key}=FILE.py:Name",
        )
    name = f"hal_user_{Path(path).stem}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise RequestError(
            f"{path} failed while it was imported: {type(error).__name__}: {error}",
            fix=f"correct the file; python {path} shows the line that fails",
        ) from error
    return module


def package_module(name: str, key: str) -> ModuleType:
    """An importable module by its name; the current folder is searched too, as Python does.

    Args:
        name: with dots.
        key: the key that names it, for messages.

    Raises:
        NotFoundError: there is no such module.
        RequestError: it fails while it is imported.
    """
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise RequestError(f"{name} failed while it was imported: {error}", fix="install what it needs") from error
        raise NotFoundError(
            f"there is no Python package or module {error.name}",
            fix=f"install the package, or write the path of a Python file: {key}=FILE.py:Name",
        ) from error
    except Exception as error:
        raise RequestError(
            f"{name} failed while it was imported: {type(error).__name__}: {error}",
            fix=f"correct it; python -c 'import {name}' shows the line that fails",
        ) from error
