"""Tells a program what happens, which must not end what happens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import ParamSpec

__all__ = ["Teller", "lasting_note"]

P = ParamSpec("P")


class Teller:
    """Calls functions that show or store what happens; that one fails because it cannot write is noted once.

    A terminal is closed, a disk is full: the work goes on. Every other error is one of the program, and is raised.

    Args:
        note: takes a sentence; it may be what fails.
    """

    def __init__(self, note: Callable[[str], object]) -> None:
        self._note = note
        self._noted = False

    def tell(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function; an OSError that it raises is noted."""
        try:
            function(*args, **kwargs)
        except OSError as error:
            if not self._noted:
                self._noted = True
                with contextlib.suppress(OSError):
                    self._note(f"what happens cannot be shown any more: {error.strerror or error}")


def lasting_note(note: Callable[[str], object]) -> Callable[[str], None]:
    """A function that takes sentences as another does, and that does not end the work where that one cannot write."""
    teller = Teller(note)
    return lambda text: teller.tell(note, text)
