"""What an exception says, in one line."""

from __future__ import annotations

__all__ = ["first_line"]


def first_line(error: BaseException) -> str:
    r"""The first line of an exception's message, or the name of its type if it has no message.

    >>> first_line(RuntimeError("out of memory\ntried to allocate 2 GiB"))
    'out of memory'
    >>> first_line(KeyboardInterrupt())
    'KeyboardInterrupt'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]
