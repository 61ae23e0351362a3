"""Which lines of a C or C++ file are compiled on the target: what is known of the preprocessor's conditions."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hal.porting.c_scanner import Directive
from hal.porting.catalogue import Symbols

__all__ = ["Compiled", "compiled_lines", "evaluate", "names_target"]

_TOKEN = re.compile(
    r"\s*(?:(defined|[A-Za-z_]\w*|&&|\|\||[<>=!]=|<<|>>|[-+*/%<>!()&|^~?:,])|(0[xX][0-9a-fA-F]+|\d+)[uUlL]*)"
)
_NAME = re.compile(r"[A-Za-z_]\w*")


class Compiled(enum.Enum):
    """Whether a line concerns the target."""

    YES = "it is compiled there, or may be"
    NO = "it is not compiled there, though nobody said so"
    DECIDED = "a condition about the target decides it: its author has thought of the target"


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
    level.taken = True if value is True else (None if None in (level.taken, value) else False)
    return _inside(level.state, value, level.thought_of)


def _inside(outer: Compiled, value: bool | None, thought_of: bool) -> Compiled:
    if outer is not Compiled.YES:
        return Compiled.DECIDED if thought_of and value is not None else outer
    if value is None:
        return Compiled.YES
    if thought_of:
        return Compiled.DECIDED
    return Compiled.YES if value else Compiled.NO


def _shared(word: str, condition: str, value: bool | None, symbols: Symbols) -> bool:
    """Whether a condition that holds on the target may hold elsewhere too, as in ``A || defined(TARGET)``."""
    return value is True and evaluate(word, condition, Symbols(false=symbols.true)) is not False


def names_target(condition: str, symbols: Symbols) -> bool:
    """Whether a condition names a symbol that tells the target from others."""
    return any(map(symbols.mentions, _NAME.findall(condition)))


def evaluate(word: str, condition: str, symbols: Symbols) -> bool | None:
    """What a condition is on the target; None: unknown.

    >>> evaluate("if", "defined(A) && B >= 7", Symbols(false=("B",)))
    False
    >>> evaluate("ifndef", "A", Symbols(true=("A",)))
    False
    """
    if word in ("ifdef", "ifndef"):
        name = _NAME.search(condition)
        value = symbols.value(name[0]) if name else None
        return value if value is None or word == "ifdef" else not value
    value_of = _Condition(["".join(found) for found in _TOKEN.findall(condition[:2000])], symbols).either()
    return None if value_of is None else bool(value_of)


class _Condition:
    """Reads a condition from left to right; a number is its value, None is unknown."""

    def __init__(self, tokens: list[str], symbols: Symbols) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.symbols = symbols

    def either(self) -> int | None:
        value = self.both()
        while self._take("||"):
            other = self.both()
            value = 1 if value or other else (None if None in (value, other) else 0)
        return value

    def both(self) -> int | None:
        value = self.compared()
        while self._take("&&"):
            other = self.compared()
            value = 0 if 0 in (value, other) else (None if None in (value, other) else 1)
        return value

    def compared(self) -> int | None:
        value = self.single()
        while (operator := self._peek()) not in ("", "||", "&&", ")"):
            self.at += 1
            other = self.single()
            value = None if value is None or other is None else _applied(operator, value, other)
        return value

    def single(self) -> int | None:
        self.depth += 1
        token = self._peek()
        self.at += 1
        value: int | None = None
        if self.depth > 50 or not token:
            value = None
        elif token == "!":
            inner = self.single()
            value = None if inner is None else int(not inner)
        elif token == "(":
            value = self.either()
            self._take(")")
        elif token == "defined":
            opened = self._take("(")
            known = self.symbols.value(self._peek())
            value = None if known is None else int(known)
            self.at += 1
            if opened:
                self._take(")")
        elif token[0].isdigit():
            value = int(token, 16) if token[:2] in ("0x", "0X") else int(token)
        elif _NAME.fullmatch(token):
            value = self._symbol(token)
        self.depth -= 1
        return value

    def _symbol(self, name: str) -> int | None:
        if self._peek() == "(":  # a macro with arguments
            nested = 0
            while (token := self._peek()) and (nested or token != ")" or self.tokens[self.at - 1] == name):
                nested += {"(": 1, ")": -1}.get(token, 0)
                self.at += 1
                if nested == 0:
                    break
            return None
        known = self.symbols.value(name)
        comparing = self._peek() in ("<", ">", "<=", ">=", "==", "!=")
        if known is False:
            return 0
        return None if known is None or comparing else 1

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self, token: str) -> bool:
        taken = self._peek() == token
        self.at += taken
        return taken


def _applied(operator: str, left: int, right: int) -> int | None:
    match operator:
        case "<":
            return int(left < right)
        case ">":
            return int(left > right)
        case "<=":
            return int(left <= right)
        case ">=":
            return int(left >= right)
        case "==":
            return int(left == right)
        case "!=":
            return int(left != right)
        case "*":
            return left * right if max(abs(left), abs(right)) < 1 << 32 else None
        case "+":
            return left + right
    return None
