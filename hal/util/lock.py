"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hal.errors import InUseError

__all__ = ["LOCK", "in_use", "locked", "require_free"]

LOCK = ".lock"
"""Name of the file in the folder; it is there as long as the folder is in use."""

_SHOWN = 200
_PROBES = 5
_PROBE_S = 0.02
"""A process that only asks whether a folder is in use holds the lock for a moment, so taking it is tried again."""


def in_use(folder: Path) -> bool:
    """Whether a process of this machine uses a folder alone; also true where the file system cannot tell.

    Where it is false, what a file in the folder says about a process that is at work is no longer so.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _taken(handle, fcntl.LOCK_SH) is not False
    finally:
        os.close(handle)


def require_free(folder: Path, fix: str) -> None:
    """Refuse a folder that another process uses.

    Args:
        folder: which need not exist.
        fix: what to do where another process uses it.

    Raises:
        InUseError: another process uses it; says which.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if _taken(handle, fcntl.LOCK_SH):
            raise _refusal(folder, handle, fix)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path, fix: str) -> Iterator[None]:
    """Use a folder alone for the time of a block.

    The operating system holds the lock (``flock``) and gives it up when this process ends, however that comes about, so
    no lock is left behind. Leftovers of processes that were killed while they wrote (``.*.part``) are removed first.

    Args:
        folder: an existing folder.
        fix: what to do where another process uses it.

    Raises:
        InUseError: another process uses it; says which.
        OSError: the lock file cannot be written.
    """
    path = folder / LOCK
    handle = _acquired(path, fix)
    try:
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": " ".join(sys.argv)[:_SHOWN],
            "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(about).encode(), 0)
        for left_over in folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                left_over.unlink()
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _acquired(path: Path, fix: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            taken = _taken(handle, fcntl.LOCK_EX)
            for _ in range(_PROBES):
                if not taken:
                    break
                time.sleep(_PROBE_S)
                taken = _taken(handle, fcntl.LOCK_EX)
            if taken:
                raise _refusal(path.parent, handle, fix)
            with contextlib.suppress(FileNotFoundError):
                # On a network file system without locks nobody can tell: better than no run at all.
                if taken is None or os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever held it removed the file meanwhile


def _taken(handle: int, kind: int) -> bool | None:
    """Whether another process has the lock, which is taken otherwise; None: the file system has no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        return None
    return False


def _refusal(folder: Path, handle: int, fix: str) -> InUseError:
    return InUseError(f"{folder} is in use by {_holder(os.pread(handle, 4096, 0))}", fix=fix)


def _holder(content: bytes) -> str:
    """Who holds a lock, in words."""
    try:
        about = json.loads(content)
        return f"process {about['pid']} on {about['host']} since {about['since']} ({about['command']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"
