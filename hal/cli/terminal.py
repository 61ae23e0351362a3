"""Text and JSON on stdout and stderr, and no other text beside JSON.

What is printed with styles goes through :mod:`hal.cli.styled`. This module loads no more than plain text needs, because
every call of ``hal`` imports it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

from hal.cli.streams import lasting_stream, lost_output
from hal.errors import UnsavedError

__all__ = ["only_json_on_stdout", "print_json", "visible", "write"]

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
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    kept = "\n" if lines else ""
    return "".join(_code(each) if _acts(each) and each not in kept else each for each in text)


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
    """Print a value to stdout as JSON.

    Raises:
        UnsavedError: it cannot be written, although somebody wants it: half a result is none.
    """
    import json

    write(json.dumps(value, indent=1) + "\n")
    lost = lost_output(sys.stdout)
    if lost is not None:
        raise UnsavedError(f"the JSON was not written to stdout: {lost.strerror}")


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
    sys.stdout = lasting_stream(saved, "utf-8")
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = ours
        os.dup2(saved, 1)
        os.close(saved)
