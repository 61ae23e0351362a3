"""Writing files whole: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from hal.errors import NotFoundError, RunError

__all__ = ["make_folder", "new_folder", "sync_folder", "write_whole"]


def make_folder(path: Path) -> Path:
    """Make a folder and its parents.

    Raises:
        NotFoundError: the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotFoundError(f"cannot create the folder {path}: {error.strerror}", fix="choose another out=") from error
    return path


def new_folder(*parts: str) -> Path:
    """The path of a folder in ``runs/`` that does not exist yet, named after some words and the time.

    Args:
        parts: the words.

    Raises:
        RunError: a thousand folders of that name exist.
    """
    stem = "-".join((*(re.sub(r"[^\w.-]+", "-", part) for part in parts), f"{datetime.now():%Y%m%d-%H%M%S}"))
    for count in range(1, 1000):
        folder = Path("runs") / (stem if count == 1 else f"{stem}-{count}")
        if not folder.exists():
            return folder
    raise RunError(f"runs/ already contains a thousand folders named {stem}", fix="choose a folder with out=")


def sync_folder(path: Path) -> None:
    """Flush a folder to disk, so that renames inside it survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees its old content or all of the new: beside its place first, then renamed."""
    with _beside(path) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
