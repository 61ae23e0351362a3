"""Files and folders that a user names, with errors that say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

from hal.errors import DataError, NotFoundError
from hal.util.paths import user_path
from hal.util.reading import available_bytes, read_regular
from hal.util.sizes import bytes_text

__all__ = ["check_memory", "entries", "is_folder", "read_bytes", "unreadable", "user_path"]


def unreadable(path: Path, error: OSError) -> NotFoundError:
    """The error for a path that the operating system refuses."""
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{path} does not exist", fix="check the path that follows the colon in data=")
    if isinstance(error, PermissionError):
        return NotFoundError(
            f"{path} cannot be read: permission denied", fix="change the permissions of the file, or use another one"
        )
    if isinstance(error, IsADirectoryError):
        return NotFoundError(f"{path} is a folder, but a file was expected", fix="give the path of a file inside it")
    if isinstance(error, NotADirectoryError):
        return NotFoundError(
            f"{path} is a file, but a folder was expected", fix="give the path of the folder that contains the data"
        )
    return NotFoundError(f"{path} cannot be read: {error.strerror or error}", fix="check the path and the disk")


def read_bytes(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        NotFoundError: the file does not exist or cannot be read.
    """
    try:
        return read_regular(path)
    except OSError as error:
        raise unreadable(path, error) from error


def entries(folder: Path) -> list[Path]:
    """The files and folders in a folder, in alphabetical order, without hidden ones.

    Raises:
        NotFoundError: the folder does not exist, is a file, or cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error


def is_folder(path: Path) -> bool:
    """Whether a path is a folder.

    Raises:
        NotFoundError: the operating system refuses to say.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from error


def check_memory(what: str, needed_bytes: int) -> None:
    """Refuse data that memory has no room for, before they are read.

    Args:
        what: names the data in the message.
        needed_bytes: of memory.

    Raises:
        DataError: this machine has less.
    """
    free = available_bytes()
    if needed_bytes > free:
        raise DataError(
            f"{what} needs {bytes_text(needed_bytes)} of memory, but only {bytes_text(free)} are free",
            fix="use fewer or smaller samples",
        )
