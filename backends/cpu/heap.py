"""Lets glibc keep memory that a training step frees, since the next step asks for as much again.

By default glibc hands large blocks back to the kernel when they are freed; the next step then pays for thousands of
page faults. docs/decisions/0002 has what was measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["can_keep", "kept_heap", "trim_heap"]

# mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_KEPT_BYTES, _LARGEST_MMAP_BYTES, _USUAL_MMAPS = 1 << 30, 32 << 20, 65536
# Where glibc's own adjustment ends in a process that frees large blocks: what it was before cannot be asked for.
_ADJUSTED_BYTES = 2 * _LARGEST_MMAP_BYTES
_CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")

_lock = threading.Lock()
_depth = 0


@functools.cache
def _glibc() -> Any | None:
    """The C library, if it is glibc and the user has not tuned its heap."""
    if any(name in os.environ for name in _CHOSEN_BY_USER) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - AttributeError tells musl and macOS
    except (AttributeError, OSError, TypeError):
        return None
    return library


def can_keep() -> bool:
    """Whether hal may tell the C library to keep memory: it is glibc, and the user has not tuned its heap."""
    return _glibc() is not None


@contextlib.contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory within; may be nested.

    Other C libraries are left alone, and so is a heap that the user tuned by the environment. glibc cannot say what its
    thresholds were; afterwards they are those that it would have moved to by itself.
    """
    global _depth  # noqa: PLW0603 - the heap is the process's, and so is the count of those who want it kept
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _depth += 1
        if _depth == 1:
            library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_BYTES)
            library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
            # Blocks above the highest threshold that glibc takes, such as oneDNN's scratchpads, are kept as well.
            library.mallopt(_M_MMAP_MAX, 0)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                library.mallopt(_M_TRIM_THRESHOLD, _ADJUSTED_BYTES)
                library.mallopt(_M_MMAP_MAX, _USUAL_MMAPS)


def trim_heap() -> None:
    """Give free memory back to the kernel, where the C library is glibc."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)
