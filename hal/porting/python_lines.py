"""Which lines of a Python file can hold anything that rules are about; looking at the others would be in vain."""

from __future__ import annotations

import ast
import bisect
import re
from collections.abc import Iterable

__all__ = ["Lines"]

_NEWLINE = re.compile(r"\r\n?")
_UNLIKE_ITS_VALUE = re.compile(
    r"""["'][ \t]*[bruft]{0,2}["']   # one string after another on a line
    |^[ \t]*[bruft]{0,2}["']         # a line that begins with a string, perhaps the second half of one
    |\\(?:\n|[xu0-7]|n\{)            # a string over two lines, an escaped character""",
    re.MULTILINE | re.VERBOSE,
)
"""Where a string may be written in another way than it reads, so that its words cannot be seen."""


class Lines:
    """The lines of a text that may contain one of some words, in whatever case.

    Args:
        text: of the file.
        words: to look for; None: all lines count.
    """

    def __init__(self, text: str, words: Iterable[str] | None) -> None:
        lowered = _NEWLINE.sub("\n", text).lower()
        self._lines = lowered.split("\n")
        starts = [0, *(found.end() for found in re.finditer("\n", lowered))]
        if words is None:
            self._with_words = list(range(1, len(self._lines) + 1))
            return
        offsets = {found.start() for found in _UNLIKE_ITS_VALUE.finditer(lowered)}
        for word in {each.lower() for each in words}:
            at = lowered.find(word)
            while at >= 0:
                offsets.add(at)
                at = lowered.find(word, at + len(word))
        self._with_words = sorted({bisect.bisect_right(starts, offset) for offset in offsets})

    def between(self, first: int, last: int) -> bool:
        """Whether one of the lines from a first to a last one may contain a word."""
        at = bisect.bisect_left(self._with_words, first)
        return at < len(self._with_words) and self._with_words[at] <= last

    def in_head(self, node: ast.stmt) -> bool:
        """Whether a statement may contain a word, apart from the statements inside it."""
        body = getattr(node, "body", None)
        decorators = getattr(node, "decorator_list", None)
        first = decorators[0].lineno if decorators else node.lineno
        last = node.end_lineno or node.lineno
        if isinstance(body, list):
            before = self._lines[body[0].lineno - 1][: body[0].col_offset]
            last = body[0].lineno if before.strip() else body[0].lineno - 1
        return self.between(first, last)
