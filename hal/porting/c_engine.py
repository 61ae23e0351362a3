"""Finds what rules describe in C and C++ files: by tokens, with the conditions of the preprocessor."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from hal.porting.c_conditions import evaluate
from hal.porting.c_guards import Chain, Compiled, chains, compiled_lines, names_target, undefined_too
from hal.porting.c_scanner import Directive as Line
from hal.porting.c_scanner import Scanned, scan_code
from hal.porting.catalogue import Symbols, table, vocabulary
from hal.porting.places import Match
from hal.porting.rule import Code, Directive, Included, KernelLaunchesKernel, ListedName, Rule

__all__ = ["CEngine"]

_T = TypeVar("_T")
_INCLUDED = re.compile(r'[<"]([^>"\n]+)[>"]')
_IDENTIFIER = re.compile(r"\b[A-Za-z_]\w{4,}")
_LAUNCH = re.compile(r"<<<")
_GUARDED = re.compile(r"#\s*pragma\s+once\b|#\s*ifndef\s+(\w+)\s+#\s*define\s+\1\b")
_DEFINED = (
    re.compile(r"\btypedef\b[^;{}]{0,200}?\b(\w+)\s*;"),
    re.compile(r"(?:#[ \t]*define[ \t]+|\busing\s+|\bstruct\s+)(\w+)"),
)
"""Names that a file gives a meaning itself."""


class CEngine:
    """Looks for the detections of some rules.

    Args:
        rules: the rules.
        symbols: what is known on the target about the preprocessor's names.
    """

    def __init__(self, rules: Iterable[Rule], symbols: Symbols) -> None:
        self._symbols = symbols
        self._by_kind: dict[type, list[tuple[Rule, object]]] = defaultdict(list)
        for rule in rules:
            for each in rule.detect:
                self._by_kind[type(each)].append((rule, each))
        self._patterns = {detection.code: re.compile(detection.code, re.MULTILINE) for _, detection in self._of(Code)}

    def _of(self, kind: type[_T]) -> Sequence[tuple[Rule, _T]]:
        return self._by_kind[kind]  # type: ignore[return-value]

    def find(self, text: str, path: str) -> list[Match]:
        """What is wrong in a file.

        Args:
            text: of the file.
            path: its name, which says whether other files include it.
        """
        scanned = scan_code(text)
        included = path.lower().endswith(vocabulary().header_suffixes) or _GUARDED.search(scanned.code) is not None
        symbols = undefined_too(scanned.directives, self._symbols)
        states = compiled_lines(scanned.directives, symbols, text.count("\n") + 1)
        found = {
            *self._directives(scanned, states, symbols),
            *self._codes(scanned, states, included),
            *self._names(scanned, states),
            *self._launches(scanned, states),
        }
        return sorted(found)

    def _directives(self, scanned: Scanned, states: list[Compiled], symbols: Symbols) -> Iterator[Match]:
        chain_of = chains(scanned.directives)
        for directive in scanned.directives:
            state = states[directive.line]
            if state in (Compiled.DECIDED, Compiled.LEFT_OUT):
                continue
            if directive.word == "include":
                name = _INCLUDED.search(directive.rest)
                if name is None or state is not Compiled.YES:
                    continue
                for rule, included in self._of(Included):
                    if re.fullmatch(included.include, name[1]):
                        yield self._match(scanned, directive.start, rule, name[1])
                continue
            if names_target(directive.rest, self._symbols):
                continue
            for rule, detection in self._of(Directive):
                if self._concerns(directive, detection, chain_of.get(directive.start), symbols):
                    yield self._match(scanned, directive.start, rule, f"#{directive.word} {directive.rest}")

    def _concerns(self, line: Line, detection: Directive, chain: Chain | None, symbols: Symbols) -> bool:
        """Whether a directive is what a detection describes, and nobody has thought of the target."""
        if line.word not in detection.kinds or re.search(detection.directive, line.rest) is None:
            return False
        if chain is None:
            return True
        if detection.has_else is not None and chain.has_else is not detection.has_else:
            return False
        if detection.harmless_as and _harmless(line, detection.harmless_as, symbols):
            return False
        return not chain.thought_of(re.compile(detection.directive), self._symbols)

    def _codes(self, scanned: Scanned, states: list[Compiled], included: bool) -> Iterator[Match]:
        for rule, detection in self._of(Code):
            if not any(word in scanned.code for word in detection.words):
                continue
            if detection.only_in is not None and re.search(detection.only_in, scanned.code) is None:
                continue
            for found in self._patterns[detection.code].finditer(scanned.code):
                if states[scanned.line(found.start())] is not Compiled.YES:
                    continue
                if detection.side != "any" and scanned.side(found.start()) != detection.side:
                    continue
                if (
                    detection.raw is not None
                    and re.match(detection.raw, scanned.text[found.start() : found.start() + 4000]) is None
                ):
                    continue
                if "name" in found.groupdict() and not included and not _occurs_twice(scanned.code, found["name"]):
                    continue
                yield self._match(scanned, found.start(), rule, " ".join(found[0].split())[:120])

    def _names(self, scanned: Scanned, states: list[Compiled]) -> Iterator[Match]:
        listed = [(rule, each, table(each.table)) for rule, each in self._of(ListedName)]
        if not listed:
            return
        own = {found[1] for pattern in _DEFINED for found in pattern.finditer(scanned.code)}
        for found in _IDENTIFIER.finditer(scanned.code):
            if found[0] in own:
                continue
            for rule, detection, names in listed:
                if (
                    found[0] in names
                    and states[scanned.line(found.start())] is Compiled.YES
                    and (detection.but is None or re.fullmatch(detection.but, found[0]) is None)
                ):
                    instead = f" ({names[found[0]]})" if names[found[0]] else ""
                    yield self._match(scanned, found.start(), rule, found[0] + instead)

    def _launches(self, scanned: Scanned, states: list[Compiled]) -> Iterator[Match]:
        for rule, _ in self._of(KernelLaunchesKernel):
            for found in _LAUNCH.finditer(scanned.code):
                region = scanned.region(found.start())
                if region is not None and states[scanned.line(found.start())] is Compiled.YES:
                    yield self._match(scanned, found.start(), rule, "")

    @staticmethod
    def _match(scanned: Scanned, offset: int, rule: Rule, what: str) -> Match:
        return Match(scanned.line(offset), scanned.column(offset), rule.id, what)


def _occurs_twice(code: str, name: str | None) -> bool:
    """Whether a name occurs a second time; true where there is none."""
    if name is None:
        return True
    places = re.finditer(rf"\b{re.escape(name)}\b", code)
    return next(places, None) is not None and next(places, None) is not None


def _harmless(line: Line, numbers: dict[str, int], symbols: Symbols) -> bool:
    """Whether a condition comes out as with these numbers, whatever the names are of which nothing is known."""
    for unknown in (True, False):
        here = evaluate(line.word, line.rest, symbols, unknown=unknown)
        if here is None or here is not evaluate(line.word, line.rest, symbols, numbers, unknown=unknown):
            return False
    return True
