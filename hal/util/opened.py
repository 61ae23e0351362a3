"""Notices which files a piece of code reads, so that its result can be kept while they stay the same."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["installed_stamp", "opened_files"]

_watching: dict[int, set[str]] = {}


@contextlib.contextmanager
def opened_files() -> Iterator[set[Path]]:
    """The files that are opened for reading within the block, complete when it ends.

    Those of Python itself and of installed packages are left out (:func:`installed_stamp` stands for them), and so is
    what the system makes up when it is read. Of a compiled module, its source is told.
    """
    _notice()
    raw: set[str] = set()
    found: set[Path] = set()
    _watching[id(raw)] = raw
    try:
        yield found
    finally:
        del _watching[id(raw)]
        found.update(path for path in map(_source, raw) if path is not None)


def installed_stamp() -> str:
    """A text that changes when a package is installed, removed or replaced."""
    times = [f"{folder}:{folder.stat().st_mtime_ns}" for folder in _packages() if folder.is_dir()]
    return " ".join([sys.version, *times])


@functools.cache
def _notice() -> None:
    """Be told of each file that is opened; Python has no way to stop that again."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and _watching and isinstance(arguments[0], (str, bytes)) and _reads(*arguments[1:3]):
            for each in list(_watching.values()):
                each.add(os.fsdecode(arguments[0]))

    sys.addaudithook(hook)


def _reads(mode: str | None, flags: int) -> bool:
    return "r" in mode if mode else flags & (os.O_WRONLY | os.O_RDWR) == 0


@functools.cache
def _left_out() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    python = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    made_up = [Path("/proc"), Path("/sys"), Path("/dev")]
    return tuple(path.resolve() for path in (*python, *_packages(), *made_up))


def _packages() -> list[Path]:
    """Folders of installed packages."""
    return [Path(name) for name in sys.path if Path(name).name in ("site-packages", "dist-packages")]


def _source(name: str) -> Path | None:
    if name.endswith(".pyc"):
        try:
            name = importlib.util.source_from_cache(name)
        except ValueError:
            return None
    path = Path(name).resolve()
    if not path.is_file() or any(path.is_relative_to(folder) for folder in _left_out()):
        return None
    return path
