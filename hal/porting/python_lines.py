"""Which lines of a Python file can hold anything that rules are about; looking at the others would be in vain."""

from __future__ import annotations

import ast
import bisect
import re
from collections.abc import Iterable

__all__ = ["Lines", "literal_of"]

_NEWLINE = re.compile(r"\r\n?")


def literal_of(name: str) -> str:
    """The longest part of a dotted name that stands in each text with the name; ``*`` stands for any characters.

    >>> literal_of("torch.cuda.amp.autocast"), literal_of("*.cuda")
    ('autocast', 'cuda')
    """
    return max(re.split(r"[.*\[\]()]", name), key=len)


class Lines:
    """The lines of a text that contain one of some words, in whatever case.

    Args:
        text: of the file.
        words: to look for.
    """

    def __init__(self, text: str, words: Iterable[str]) -> None:
        lowered = _NEWLINE.sub("\n", text).lower()
        offsets: set[int] = set()
        for word in {each.lower() for each in words}:
            at = lowered.find(word)
            while at >= 0:
                offsets.add(at)
                at = lowered.find(word, at + len(word))
        starts = [0, *(found.end() for found in re.finditer("\n", lowered))]
        self._with_words = sorted({bisect.bisect_right(starts, offset) for offset in offsets})

    def between(self, first: int, last: int) -> bool:
        """Whether one of the lines from a first to a last one contains a word."""
        at = bisect.bisect_left(self._with_words, first)
        return at < len(self._with_words) and self._with_words[at] <= last

    def in_head(self, node: ast.stmt) -> bool:
        """Whether a statement contains a word, apart from the statements inside it."""
        body = getattr(node, "body", None)
        decorators = getattr(node, "decorator_list", None)
        first = decorators[0].lineno if decorators else node.lineno
        last = max(body[0].lineno - 1, node.lineno) if isinstance(body, list) else node.end_lineno or node.lineno
        return self.between(first, last)
