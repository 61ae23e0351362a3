"""Files and folders that a user names, with errors that say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

from hal.errors import DataError, NotFoundError
from hal.util.paths import user_path
from hal.util.reading import available_bytes, open_regular, read_regular
from hal.util.sizes import bytes_text

__all__ = ["check_memory", "entries", "is_folder", "read_bytes", "read_start", "unreadable", "user_path"]

_OF_SYSTEMS = frozenset(
    ["__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"]
)
"""What systems and file managers put into folders of users; in small letters."""

_UNSUSPICIOUS_BYTES = 256 << 20
_MOST_COMPRESSED = 200
"""How many times larger than their file data may be; a picture of one color is a thousand times larger."""


def unreadable(path: Path, error: OSError) -> NotFoundError:
    """The error for a path that the operating system refuses."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return NotFoundError(
            f"{path} is a link to {path.readlink()}, which does not exist", fix="repair or remove the link"
        )
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


def read_start(path: Path, count: int) -> tuple[int, bytes]:
    """The size of a file and its first bytes.

    Raises:
        NotFoundError: the file does not exist or cannot be read.
    """
    try:
        with open_regular(path) as file:
            return path.stat().st_size, file.read(count)
    except OSError as error:
        raise unreadable(path, error) from error


def entries(folder: Path) -> list[Path]:
    """The files and folders in a folder, in alphabetical order, without hidden ones and those of systems.

    Raises:
        NotFoundError: the folder does not exist, is a file, or cannot be read.
    """
    try:
        return sorted(
            path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in _OF_SYSTEMS
        )
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


def check_memory(what: str, needed_bytes: int, stored_bytes: int | None = None) -> None:
    """Refuse data that memory has no room for, before they are read.

    Args:
        what: names the data in the message.
        needed_bytes: of memory.
        stored_bytes: what they take on the disk; None: they are not stored there.

    Raises:
        DataError: this machine has less, or so few bytes can only hold the same value again and again.
    """
    if stored_bytes is not None and needed_bytes > max(_UNSUSPICIOUS_BYTES, _MOST_COMPRESSED * stored_bytes):
        raise DataError(
            f"{what} has {bytes_text(stored_bytes)}, which would become {bytes_text(needed_bytes)}; data "
            "that compress this well contain nothing to learn from",
            fix="look at the file, and store it again without compression if its content is right",
        )
    free = available_bytes()
    if needed_bytes > free:
        raise DataError(
            f"{what} needs {bytes_text(needed_bytes)} of memory, but only {bytes_text(free)} are free",
            fix="use fewer or smaller samples",
        )
