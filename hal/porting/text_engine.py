"""Finds what rules describe in text files: builds, packages, containers, scripts, settings of services."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hal.porting.catalogue import Symbols
from hal.porting.places import Match
from hal.porting.requirements import fits, names_package, requirements_in
from hal.porting.rule import Line, Required, Rule

__all__ = ["LONGEST_LINE", "TextEngine", "without_comment"]

_COMMENT = re.compile(r"(?:^|\s)#(?!\[).*")
_BLOCK_COMMENT = re.compile(r"#\[(=*)\[.*?\]\1\]", re.DOTALL)
LONGEST_LINE = 4000
"""Longer lines are not read; they are data."""
_REQUIRING = frozenset("requirements environment project setup docker shell ci".split())
_OPENED = {"project": re.compile(r"\s*([\w-]+)\s*=\s*\["), "environment": re.compile(r"(\w+)\s*:")}
"""How the name of a list begins in files of a kind."""
_NO_PACKAGES = frozenset(
    "keywords classifiers authors maintainers packages include exclude channels name prefix".split()
)
"""Lists of project files and environments that name no packages that are installed."""
_BLOCK = {
    "cmake": re.compile(r"\s*(if|elseif|else|endif)\s*\(([^)]*)\)?", re.IGNORECASE),
    "shell": re.compile(r"\s*(if|elif|else|fi)\b(.*)"),
    "make": re.compile(r"\s*(ifeq|ifneq|ifdef|ifndef|else|endif)\b(.*)"),
}
_OPENS = frozenset("if ifeq ifneq ifdef ifndef".split())
_CLOSES = frozenset("endif fi".split())


def without_comment(line: str) -> str:
    """A line without what follows ``#``, unless the sign is in the middle of a word."""
    return _COMMENT.sub("", line)


class TextEngine:
    """Looks for the detections of some rules.

    Args:
        rules: the rules.
        symbols: what is known on the target; lines under a condition that names it are left out.
        other: an expression for the names of extras that are for another vendor.
    """

    def __init__(self, rules: Iterable[Rule], symbols: Symbols, other: str = "(?!)") -> None:
        self._symbols = symbols
        self._other = re.compile(other)
        self._lines: dict[str, list[tuple[Rule, Line, re.Pattern[str]]]] = {}
        self._required: list[tuple[Rule, Required]] = []
        self._named: dict[str, list[tuple[Rule, Required]]] = {}
        for rule in rules:
            for each in rule.detect:
                if isinstance(each, Required):
                    self._required.append((rule, each))
                elif isinstance(each, Line):
                    for kind in each.kinds:
                        self._lines.setdefault(kind, []).append((rule, each, re.compile(each.line)))

    def find(self, text: str, kind: str) -> list[Match]:
        """What is wrong in the text of a file of a kind."""
        found: set[Match] = set()
        patterns = self._patterns(text, kind)
        for number, line in self._lines_for_target(text, kind):
            for rule, pattern in patterns:
                if (hit := pattern.search(line)) is not None:
                    found.add(Match(number, hit.start() + 1, rule.id, hit[0].strip()[:120]))
            if kind in _REQUIRING and self._required:
                for column, requirement in requirements_in(line, kind):
                    for rule, detection in self._about(requirement.name):
                        if fits(requirement, detection):
                            found.add(Match(number, column, rule.id, requirement.name))
        return sorted(found)

    def _about(self, package: str) -> list[tuple[Rule, Required]]:
        """The detections of a package; the same names stand in many files."""
        if package not in self._named:
            held = [(rule, each) for rule, each in self._required if names_package(each, package)]
            self._named[package] = held
        return self._named[package]

    def _lines_for_target(self, text: str, kind: str) -> Iterator[tuple[int, str]]:
        """The lines that concern the target, without comments, each with its number."""
        conditions: list[bool] = []
        section = ""
        if kind == "cmake":
            text = _BLOCK_COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
        for number, raw in enumerate(text.split("\n"), 1):
            if not raw.strip() or len(raw) > LONGEST_LINE:
                continue
            line = without_comment(raw.rstrip("\r"))
            opened = _OPENED[kind].match(line) if kind in _OPENED else None
            if opened is not None:
                section = opened[1]
            if section in _NO_PACKAGES and (opened is not None or kind == "environment"):
                continue
            if kind == "project" and opened is not None and self._other.search(section):
                continue
            self._condition(line, kind, conditions)
            if not any(conditions):
                yield number, line

    def _patterns(self, text: str, kind: str) -> list[tuple[Rule, re.Pattern[str]]]:
        """What lines of this text are compared with."""
        return [
            (rule, pattern)
            for rule, each, pattern in self._lines.get(kind, [])
            if (each.only_in is None or re.search(each.only_in, text))
            and (each.not_in is None or not re.search(each.not_in, text))
        ]

    def _condition(self, line: str, kind: str, conditions: list[bool]) -> None:
        """Keep track of the conditions around the next line: whether each one is about the target."""
        pattern = _BLOCK.get(kind)
        block = pattern.match(line) if pattern is not None else None
        if block is None:
            return
        word = block[1].lower()
        about = any(map(self._symbols.mentions, re.findall(r"[A-Za-z_]\w*", block[2])))
        if word in _OPENS:
            closed = kind == "shell" and re.search(r";\s*fi\b", block[2]) is not None
            conditions.extend([] if closed else [about])
        elif conditions and word in _CLOSES:
            conditions.pop()
        elif conditions and word != "else":
            conditions[-1] |= about
