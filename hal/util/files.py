"""Writing files and folders whole: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hal.errors import ConfigError, NotFoundError, RunError, UnsavedError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "check_new",
    "check_writable",
    "make_folder",
    "new_folder",
    "remove_folder",
    "sync_folder",
    "write_folder",
    "write_result",
    "write_text",
    "write_whole",
]

_PART = re.compile(r"\..*\.([0-9a-f]{8})-([0-9]+)\.part", re.DOTALL)
_SHOWN = 50


def make_folder(path: Path, fix: str = "choose another out=") -> Path:
    """Make a folder and its parents.

    Args:
        path: the folder.
        fix: what to do where it cannot be made.

    Raises:
        NotFoundError: the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise NotFoundError(f"cannot create the folder {path}: {_reason(error)}", fix=fix) from error
    return path


def check_writable(folder: Path, fix: str = "choose another out=") -> None:
    """Find out before the work whether files can be written to a folder. Nothing is left there.

    A folder that does not exist yet is not made; the nearest one above it, in which it will be made, is tried.

    Raises:
        NotFoundError: no file can be written there.
    """
    place, said = folder, f"cannot write to the folder {folder}"
    try:
        while not os.path.lexists(place) and place.parent != place:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                place.lstat()  # raises what is wrong with the name itself
            place = place.parent
        if place != folder or not place.is_dir():
            said = f"cannot create the folder {folder}"
        with tempfile.TemporaryFile(dir=place):  # which has no name where the file system can do that
            pass
    except (OSError, ValueError) as error:
        raise NotFoundError(f"{said}: {_reason(error)}", fix=fix) from error


def check_new(path: Path, key: str = "out") -> None:
    """Find out before the work whether a file or a folder of results can be made. Nothing is left there.

    Args:
        path: the file or the folder.
        key: the key that names it.

    Raises:
        ConfigError: it exists.
        NotFoundError: it cannot be made.
    """
    check_writable(path.parent, f"choose another {key}=")
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise NotFoundError(f"cannot write {path}: {_reason(error)}", fix=f"choose another {key}=") from error
    raise ConfigError(f"{key}={path} already exists and is not overwritten", fix=f"choose another {key}=")


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


def write_result(path: Path, result: BaseModel) -> None:
    """Write what a command found to a new file, whose folder is made.

    Raises:
        UnsavedError: it cannot be written; carries the result.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (result.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise UnsavedError(f"the result was not saved: cannot write {path}: {_reason(error)}", result) from error


def write_text(path: Path, text: str, fix: str = "choose another file") -> None:
    """Write a page, a table or a report whole.

    Args:
        path: the file; its folder is made where it is not there.
        text: its content.
        fix: what to do where it cannot be written.

    Raises:
        NotFoundError: it cannot be written.
    """
    make_folder(path.parent, fix)
    try:
        write_whole(path, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise NotFoundError(f"cannot write {path}: {error.strerror}", fix=fix) from error


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file so that a reader sees its old content or all of the new: beside its place first, then renamed.

    What processes that died have left of such files in the folder is removed first.

    Args:
        path: the file.
        content: all of it, or its parts in order, which are asked for while it is written.

    Raises:
        OSError: it cannot be written. It names the file, and the old content is as it was.
    """
    try:
        _remove_leftovers(path.parent)
        with _beside(path) as temporary:
            _write_synced(temporary, content)
            temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_folder(path: Path, files: Mapping[str, bytes | Iterable[bytes]]) -> None:
    """Write a folder so that a reader sees all of it or nothing: beside its place first, then renamed.

    A folder that has this name is replaced. What processes that died have left of such folders is removed first.

    Args:
        path: the folder. The one above it exists.
        files: the content of each file, by its name; or its parts, which are asked for while the file is written. The
            files are written in order.

    Raises:
        OSError: it cannot be written. It names the folder.
    """
    try:
        _remove_leftovers(path.parent)
        with _beside(path) as temporary:
            temporary.mkdir()
            for name, content in files.items():
                _write_synced(temporary / name, content)
            sync_folder(temporary)
            if path.exists():
                remove_folder(path)
            temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def remove_folder(path: Path) -> None:
    """Remove a folder so that nobody sees a part of it: it is renamed first, then deleted.

    Raises:
        OSError: it cannot be removed.
    """
    hidden = _hidden(path, "old.")
    path.replace(hidden)
    shutil.rmtree(hidden)


def _write_synced(path: Path, content: bytes | Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for part in (content,) if isinstance(content, bytes) else content:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _hidden(path: Path, mark: str = "") -> Path:
    """The name beside a file or folder under which this process writes or removes it."""
    return path.with_name(f".{path.name[:_SHOWN]}.{mark}{_here()}-{os.getpid()}.part")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    temporary = _hidden(path)
    try:
        yield temporary
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """Remove a file or a folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@functools.cache
def _here() -> str:
    """A short mark of where a process number means one process: this host, or a container with numbers of its own."""
    numbers = ""
    with contextlib.suppress(OSError):
        numbers = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32((socket.gethostname() + numbers).encode()):08x}"


def _remove_leftovers(folder: Path) -> None:
    """Remove files and folders that a process of this host was writing when it died."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            found = _PART.fullmatch(name)
            if found is not None and found[1] == _here() and _gone(int(found[2])):
                _remove(folder / name)


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
