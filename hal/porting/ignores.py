"""Comments that silence rules: ``hal: ignore[HAL101]`` on the line, or on a line of its own above it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Ignore", "ignores_in"]

_COMMENT = re.compile(r"(#|//|/\*)\s*hal:\s*ignore\[([^\]\n]*)\]")


@dataclass(frozen=True)
class Ignore:
    """A comment.

    Attributes:
        at: the line of the comment.
        line: the line that it is about.
        rule: the id that it silences.
    """

    at: int
    line: int
    rule: str


def ignores_in(text: str) -> Iterator[Ignore]:
    """The comments in a text that silence rules."""
    if "ignore[" not in text:
        return
    for number, line in enumerate(text.split("\n"), 1):
        for found in _COMMENT.finditer(line):
            alone = not line[: found.start()].strip()
            for rule in found[2].split(","):
                if rule.strip():
                    yield Ignore(number, number + 1 if alone else number, rule.strip().upper())
