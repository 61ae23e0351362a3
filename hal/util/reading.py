"""Reads what others wrote: only regular files, and nothing that is larger than it may be."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from hal.util.sizes import bytes_text

__all__ = ["available_bytes", "open_regular", "read_regular"]


def open_regular(path: Path, at_most: int = sys.maxsize) -> BinaryIO:
    """Open a regular file for reading.

    A named pipe would wait for a writer for ever, and a device such as ``/dev/zero`` never ends. A file whose size is 0
    is empty, also where the system makes up a content when it is read, as in ``/proc``: some of these wait too.

    Args:
        path: the file.
        at_most: a larger file is refused (bytes).

    Raises:
        OSError: it cannot be opened, is no regular file, or is too large.
    """
    found = path.stat()  # before it is opened, since that is where a pipe waits
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if found.st_size > at_most:
        raise _too_large(path, found.st_size, at_most)
    file = path.open("rb")
    if found.st_size:
        return file
    file.close()
    return open(os.devnull, "rb")


def read_regular(path: Path, at_most: int | None = None) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        at_most: a larger file is refused before it is read (bytes); None: what the memory of this machine has room for.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large.
    """
    limit = available_bytes() if at_most is None else at_most
    with open_regular(path, limit) as file:
        # As much as is read is allocated first: not the limit, which may be far more than there is.
        content = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        while len(content) <= limit and (more := file.read(1 << 20)):  # it grew
            content += more
        if len(content) > limit:
            raise _too_large(path, len(content), limit)
        return content


def available_bytes() -> int:
    """Memory of this machine that is free or can be freed, in bytes."""
    import psutil

    return int(psutil.virtual_memory().available)


def _too_large(path: Path, size: int, limit: int) -> OSError:
    return OSError(
        errno.EFBIG, f"it is too large: {bytes_text(size)}, but at most {bytes_text(limit)} are read", str(path)
    )
