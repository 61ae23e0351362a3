"""Text and JSON on stdout and stderr: every character, also where nobody reads on, and no other text beside JSON.

What is printed with styles goes through :mod:`hal.cli.styled`. This module loads no more than plain text needs, because
every call of ``hal`` imports it.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

__all__ = ["only_json_on_stdout", "prepare_streams", "print_json", "visible", "write"]

_PLAIN = {"→": "->", "×": "x", "·": "-", "✗": "x", "≥": ">=", "≤": "<=", "–": "-", "—": "-", "…": "..."}
"""What stands for hal's own signs where the terminal's encoding lacks them; another character is shown as its code."""

_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which the characters after them are shown."""


def visible(value: object, *, lines: bool = False) -> str:
    r"""The text of a value with characters that would act on a terminal shown as their codes.

    Args:
        value: any value.
        lines: whether the text may have several lines; otherwise a line break is shown as its code too.

    >>> visible("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    kept = "\n" if lines else ""
    return "".join(_code(each) if _acts(each) and each not in kept else each for each in str(value))


def _acts(character: str) -> bool:
    return character in _BIDIRECTIONAL or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _code(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else repr(character)[1:-1]


def write(text: str, *, to_stderr: bool = False) -> None:
    """Print a text as it is."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.write(text)
    stream.flush()


def print_json(value: Any) -> None:
    """Print a value to stdout as JSON."""
    import json

    write(json.dumps(value, indent=1) + "\n")


class _Stream(io.TextIOWrapper):
    """A stream to which every writer can write to the end, also when nobody reads it any more.

    A closed pipe, as in ``hal run ... | head -1``, must neither end a command nor change its status, whoever prints:
    hal, a library, or the user's own model.
    """

    def write(self, text: str, /) -> int:
        """Write a text, or drop it if nobody reads."""
        try:
            return super().write(text)
        except BrokenPipeError:
            self._discard()
            return len(text)

    def flush(self) -> None:
        """Hand on what was written, or drop it if nobody reads."""
        try:
            super().flush()
        except BrokenPipeError:
            self._discard()

    def _discard(self) -> None:
        """Send what is written from now on nowhere, and what the stream still holds too."""
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def prepare_streams() -> None:
    """For the rest of this process, stdout and stderr take every character, and never fail because nobody reads."""
    codecs.register_error("hal.plain", _plainly)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before hal started, as by >&-
            setattr(sys, name, _Stream(open(os.devnull, "wb"), "utf-8"))  # noqa: SIM115 - open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.flush()
            encoding, by_line, at_once = stream.encoding, stream.line_buffering, stream.write_through
            setattr(sys, name, _Stream(stream.buffer, encoding, "hal.plain", None, by_line, at_once))


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks, as an error handler of :mod:`codecs`."""
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each, each.encode("ascii", "backslashreplace").decode()) for each in wrong), error.end


@contextlib.contextmanager
def only_json_on_stdout() -> Iterator[None]:
    """Send to stderr what native libraries print on file descriptor 1."""
    try:
        real = sys.stdout.fileno() == 1
    except (OSError, ValueError):  # stdout is no file
        real = False
    if not real:
        yield
        return
    sys.stdout.flush()
    saved, ours = os.dup(1), sys.stdout
    os.dup2(2, 1)
    sys.stdout = _Stream(os.fdopen(os.dup(saved), "wb"), "utf-8")
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = ours
        os.dup2(saved, 1)
        os.close(saved)
