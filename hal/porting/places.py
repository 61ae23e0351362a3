"""Where in a file something was found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Match", "excerpt"]

_LONGEST = 160


@dataclass(frozen=True, order=True)
class Match:
    """A rule at a place.

    Attributes:
        line: from 1, in the file, or in the cell of a notebook.
        column: from 1.
        rule: id.
        what: the name or text that was found; empty where the line says it.
    """

    line: int
    column: int
    rule: str
    what: str = ""


def excerpt(lines: list[str], line: int) -> str:
    """The text of a line, cut where it is very long; empty where there is no such line."""
    text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
