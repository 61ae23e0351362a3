"""The standard streams of a command: they take every character, and what cannot be written ends no work.

A command works for hours while its terminal is closed, the pipe behind it ends or the disk behind ``> FILE`` fills up.
What it prints is then lost, and what it writes to its own files is not.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["lasting_stream", "lost_output", "prepare_streams"]

_PLAIN = {"→": "->", "×": "x", "·": "-", "✗": "x", "≥": ">=", "≤": "<=", "–": "-", "—": "-", "…": "..."}
"""What stands for hal's own signs where the terminal's encoding lacks them; another character is shown as its code."""


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks, as an error handler of :mod:`codecs`."""
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each, each.encode("ascii", "backslashreplace").decode()) for each in wrong), error.end


codecs.register_error("hal.plain", _plainly)


class _Lasting(io.BufferedIOBase):
    """A descriptor to which everything can be written; what the system refuses is dropped.

    It buffers nothing, so that a handler of a signal can print while something is printed: Python's own buffer refuses
    that.

    Attributes:
        lost: why something was dropped; None: nothing was, or nobody reads on, as in ``hal run ... | head -1``.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.lost: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """Write all of the bytes, or drop the rest; gives how many there were."""
        view = memoryview(data).cast("B")
        left = view
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:  # another process has made the terminal or pipe non-blocking
                select.select([], [self._fd], [])
            except OSError as error:
                if error.errno != errno.EPIPE:
                    self.lost = error
                break
        return len(view)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor, which stays open when this object is closed."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)


def lasting_stream(fd: int, encoding: str, *, line_buffering: bool = False) -> TextIO:
    """A stream that writes to a descriptor and never fails."""
    return io.TextIOWrapper(_Lasting(fd), encoding=encoding, errors="hal.plain", line_buffering=line_buffering)  # type: ignore[type-var]


def lost_output(stream: TextIO) -> OSError | None:
    """Why something that was written to a stream of :func:`lasting_stream` is lost; None: nothing is."""
    held: object = getattr(stream, "buffer", None)
    return held.lost if isinstance(held, _Lasting) else None


@contextlib.contextmanager
def prepare_streams() -> Iterator[None]:
    """Around a command: stdout and stderr take every character, and writing to them never fails."""
    _open_missing()
    before = sys.stdout, sys.stderr
    for name, fd in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        if old is None or (isinstance(old, io.TextIOWrapper) and old.fileno() == fd):
            encoding, lines = ("utf-8", False) if old is None else (old.encoding, old.line_buffering)
            setattr(sys, name, lasting_stream(fd, encoding, line_buffering=lines))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # it is closed
            sys.stdout.flush()
            lost = lost_output(sys.stdout)
            if lost is not None:
                sys.stderr.write(f"some of the output was not printed: {lost.strerror}\n")
        with contextlib.suppress(ValueError):
            sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Open standard descriptors that are closed, so that no file gets their numbers and what others print there."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
