"""Writes pages for a browser."""

from __future__ import annotations

from pathlib import Path

from hal.errors import NotFoundError
from hal.util.files import write_whole

__all__ = ["write_page"]


def write_page(path: Path, text: str) -> None:
    """Write a page whole.

    Raises:
        NotFoundError: it cannot be written.
    """
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise NotFoundError(f"cannot write {path}: {error.strerror}", fix="choose another file") from error
