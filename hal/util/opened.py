"""Notices what a piece of code reads, so that its result can be kept while that stays the same."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hal.util.reading import read_regular

__all__ = ["digest", "foreign_code", "installed_stamp", "opened_files"]

_HASHED = 16 << 20
"""Of larger files (bytes) the size and the time of the last change stand for the content."""

_watching: dict[int, set[str]] = {}


@contextlib.contextmanager
def opened_files() -> Iterator[set[Path]]:
    """The files that Python opens for reading within the block and the folders that it lists, complete when it ends.

    Those of Python itself and of installed packages are left out (:func:`installed_stamp` stands for them), and so is
    what the system makes up when it is read. Of a compiled module, its source is told. A module that was imported
    before is not opened again, see :func:`foreign_code`; what compiled libraries open by themselves is not seen.
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


def foreign_code() -> bool:
    """Whether a module is loaded that belongs neither to Python, to an installed package, nor to hal."""
    for name, module in tuple(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name.partition(".")[0] != "hal" and not _is_left_out(Path(file).absolute()):
            return True
    return False


def digest(path: Path) -> str:
    """A text that changes with the content of a file, or with the names in a folder.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode("utf-8", "surrogateescape")).hexdigest()
    found = path.stat()
    if found.st_size > _HASHED:
        return f"{found.st_size} bytes of {found.st_mtime_ns}"
    return hashlib.sha256(read_regular(path, _HASHED)).hexdigest()


def installed_stamp() -> str:
    """A text that changes when a package is installed, removed or replaced."""
    times = [f"{folder}:{folder.stat().st_mtime_ns}" for folder in _packages() if folder.is_dir()]
    return " ".join([sys.version, *times])


@functools.cache
def _notice() -> None:
    """Be told of each file that is opened; Python has no way to stop that again."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not _watching or event not in ("open", "os.listdir", "os.scandir"):
            return
        path = "." if event != "open" and arguments[0] is None else arguments[0]
        if not isinstance(path, (str, bytes)):
            return
        if _reads(*arguments[1:3]) if event == "open" else not _of_imports():
            for each in list(_watching.values()):
                each.add(os.fsdecode(path))

    sys.addaudithook(hook)


def _of_imports() -> bool:
    """Whether it is Python's import that lists a folder: it lists all in which a module may be."""
    return sys._getframe(2).f_code.co_filename.startswith("<frozen importlib")


def _reads(mode: str | None, flags: int) -> bool:
    return "r" in mode if mode else flags & (os.O_WRONLY | os.O_RDWR) == 0


@functools.cache
def _left_out() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    python = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    found = (*python, *_packages(), Path("/proc"), Path("/sys"), Path("/dev"))
    return tuple({*found, *(path.resolve() for path in found)})


def _is_left_out(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _left_out())


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
    return path if (path.is_file() or path.is_dir()) and not _is_left_out(path) else None
