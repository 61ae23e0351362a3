"""Which lines of a C or C++ file are compiled on the target: what is known there of the preprocessor's conditions."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hal.porting.c_conditions import evaluate
from hal.porting.c_scanner import Directive
from hal.porting.catalogue import Symbols

__all__ = ["Chain", "Compiled", "chains", "compiled_lines", "names_target", "undefined_too"]

_NAME = re.compile(r"[A-Za-z_]\w*")


class Compiled(enum.Enum):
    """Whether a line concerns the target."""

    YES = "it is compiled there, or may be"
    NO = "it is not compiled there, though nobody said so"
    DECIDED = "a condition about the target decides it: its author has thought of the target"
    LEFT_OUT = "a condition about the target leaves it out there"


@dataclass
class _Level:
    state: Compiled
    taken: bool | None
    thought_of: bool


def compiled_lines(directives: Sequence[Directive], symbols: Symbols, lines: int) -> list[Compiled]:
    """The state of each line; the first one stands at index 1.

    Args:
        directives: of the file.
        symbols: what is known on the target.
        lines: how many lines the file has.
    """
    states = [Compiled.YES] * (lines + 2)
    stack: list[_Level] = []
    current, since = Compiled.YES, 1
    for directive in directives:
        if directive.word in ("include", "pragma", "define"):
            continue
        for line in range(since, min(directive.line + 1, len(states))):
            states[line] = current
        since = directive.line + 1
        current = _next(directive, stack, symbols, current)
    for line in range(since, len(states)):
        states[line] = current
    return states


def undefined_too(directives: Sequence[Directive], symbols: Symbols) -> Symbols:
    """What is known on the target, and that names are undefined there that a file defines for others alone."""
    states = compiled_lines(directives, symbols, max((each.line for each in directives), default=0))
    here: set[str] = set()
    elsewhere: set[str] = set()
    for directive in directives:
        if directive.word == "define" and (name := _NAME.match(directive.rest)):
            left_out = states[directive.line] in (Compiled.LEFT_OUT, Compiled.NO)
            (elsewhere if left_out else here).add(name[0])
    names = tuple(sorted(each for each in elsewhere - here if symbols.value(each) is None))
    return symbols.model_copy(update={"false": (*symbols.false, *names)}) if names else symbols


def _next(directive: Directive, stack: list[_Level], symbols: Symbols, current: Compiled) -> Compiled:
    """The state after a directive."""
    word = directive.word
    if word in ("if", "ifdef", "ifndef"):
        value = evaluate(word, directive.rest, symbols)
        thought_of = names_target(directive.rest, symbols) and not _shared(word, directive.rest, value, symbols)
        stack.append(_Level(current, value, thought_of))
        return _inside(current, value, thought_of)
    if not stack:
        return current
    level = stack[-1]
    if word == "endif":
        stack.pop()
        return level.state
    value = True if word == "else" else evaluate("if", directive.rest, symbols)
    shared = word != "else" and _shared("if", directive.rest, value, symbols)
    level.thought_of |= names_target(directive.rest, symbols) and not shared
    if level.taken is True:
        value = False
    elif level.taken is None and value is True:
        value = None
    level.taken = True if True in (level.taken, value) else (None if None in (level.taken, value) else False)
    return _inside(level.state, value, level.thought_of)


def _inside(outer: Compiled, value: bool | None, thought_of: bool) -> Compiled:
    if outer is Compiled.LEFT_OUT:
        return outer
    if thought_of:
        return Compiled.LEFT_OUT if value is False else Compiled.DECIDED
    if outer is not Compiled.YES:
        return outer
    return Compiled.NO if value is False else Compiled.YES


def _shared(word: str, condition: str, value: bool | None, symbols: Symbols) -> bool:
    """Whether a condition that holds on the target may hold elsewhere too, as in ``A || defined(TARGET)``."""
    return value is True and evaluate(word, condition, Symbols(false=symbols.true)) is not False


def names_target(condition: str, symbols: Symbols) -> bool:
    """Whether a condition names a symbol that tells the target from others."""
    return any(map(symbols.mentions, _NAME.findall(condition)))


@dataclass
class Chain:
    """The conditions from an ``#if`` to its ``#endif``.

    Attributes:
        conditions: what stands after each ``#if`` and ``#elif``.
        around: the chain in one of whose parts this one stands.
        has_else: whether it ends with an ``#else``.
    """

    conditions: list[str]
    around: Chain | None
    has_else: bool = False

    def thought_of(self, pattern: re.Pattern[str], symbols: Symbols) -> bool:
        """Whether it asks for the target, or stands in one that asks for it beside what a pattern describes."""
        if any(names_target(each, symbols) for each in self.conditions):
            return True
        outer = self.around
        while outer is not None:
            if any(names_target(each, symbols) and pattern.search(each) for each in outer.conditions):
                return True
            outer = outer.around
        return False


def chains(directives: Sequence[Directive]) -> dict[int, Chain]:
    """The chain of each condition, by the place of its directive."""
    found: dict[int, Chain] = {}
    open_: list[Chain] = []
    for directive in directives:
        if directive.word in ("if", "ifdef", "ifndef"):
            open_.append(Chain([directive.rest], open_[-1] if open_ else None))
        elif not open_ or directive.word not in ("elif", "else", "endif"):
            continue
        elif directive.word == "endif":
            open_.pop()
            continue
        elif directive.word == "else":
            open_[-1].has_else = True
        else:
            open_[-1].conditions.append(directive.rest)
        found[directive.start] = open_[-1]
    return found
