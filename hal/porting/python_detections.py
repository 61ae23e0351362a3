"""What rules look for in Python files, arranged so that a name or a line is compared with few of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from hal.porting.python_names import matches_name
from hal.porting.rule import Assigned, Called, Compared, KeywordArgument, Rule, StringConstant, TakenApart, Used

__all__ = ["Detections"]

_T = TypeVar("_T")


def _literal_of(name: str) -> str:
    """The longest part of a dotted name that stands in each text with the name; ``*`` stands for any characters.

    >>> _literal_of("torch.cuda.amp.autocast"), _literal_of("*.cuda")
    ('autocast', 'cuda')
    """
    return max(re.split(r"[.*]", name), key=len)


class Detections:
    """The detections of some rules.

    Args:
        rules: the rules.

    Attributes:
        words: every line with a finding contains one of these, unless an alias hides the name.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_kind: dict[type, list[tuple[Rule, object]]] = defaultdict(list)
        for rule in rules:
            for each in rule.detect:
                self._by_kind[type(each)].append((rule, each))
        self._watched: list[str] = []
        for _, compared in self.of(Compared):
            self._watched += compared.compares
        for _, taken in self.of(TakenApart):
            self._watched += taken.takes_apart
        self._watched_words = {_literal_of(name) for name in self._watched}
        self.words = self._watched_words | set(self._words())
        self._used: dict[str, list[tuple[Rule, bool]]] = {}
        self._called: dict[str, list[tuple[Rule, Called]]] = {}

    def of(self, kind: type[_T]) -> Sequence[tuple[Rule, _T]]:
        """The detections of a kind, each with its rule."""
        return self._by_kind[kind]  # type: ignore[return-value]

    def _words(self) -> Iterator[str]:
        """Every line with a finding contains one of these, unless an alias hides the name."""
        for _, used in self.of(Used):
            yield from map(_literal_of, used.uses)
        for _, called in self.of(Called):
            yield from map(_literal_of, called.calls)
        for _, keyword in self.of(KeywordArgument):
            yield keyword.keyword
        for _, assigned in self.of(Assigned):
            yield from assigned.words
        for _, string in self.of(StringConstant):
            yield from string.words

    def used(self, name: str) -> list[tuple[Rule, bool]]:
        """The rules about reading a name, and whether each one holds in lists and comparisons too."""
        if name not in self._used:
            held = [(rule, each) for rule, each in self.of(Used) if each.assigned is None]
            self._used[name] = [(rule, each.listed) for rule, each in held if matches_name(each.uses, name)]
        return self._used[name]

    def called(self, name: str) -> list[tuple[Rule, Called]]:
        """The rules about calling a function, and on which arguments each depends."""
        if name not in self._called:
            self._called[name] = [(rule, each) for rule, each in self.of(Called) if matches_name(each.calls, name)]
        return self._called[name]

    def watched_in(self, text: str) -> list[str]:
        """The names whose values are followed through the variables of a file; none where it names none of them."""
        return self._watched if any(word in text for word in self._watched_words) else []
