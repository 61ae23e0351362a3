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
from collections.abc import Iterator
from pathlib import Path

from hal.errors import InUseError

__all__ = ["LOCK", "locked"]

LOCK = ".lock"
"""Name of the file in the folder; it is there as long as the folder is in use."""

_SHOWN = 200


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
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.pread(handle, 4096, 0))
            os.close(handle)
            raise InUseError(f"{path.parent} is in use by {holder}", fix=fix) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                os.close(handle)
                raise
            return handle  # a network file system without locks: better than no run at all
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)  # whoever held it removed the file meanwhile


def _holder(content: bytes) -> str:
    """Who holds a lock, in words."""
    try:
        about = json.loads(content)
        return f"process {about['pid']} on {about['host']} since {about['since']} ({about['command']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"
