"""What a condition of the preprocessor is on the target."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hal.porting.catalogue import Symbols

__all__ = ["evaluate"]

_TOKEN = re.compile(
    r"\s*(?:(defined|[A-Za-z_]\w*|&&|\|\||[<>=!]=|<<|>>|[-+*/%<>!()&|^~?:,])|(0[xX][0-9a-fA-F]+|\d+)[uUlL]*)"
)
_NAME = re.compile(r"[A-Za-z_]\w*")


def evaluate(
    word: str,
    condition: str,
    symbols: Symbols,
    numbers: Mapping[str, int] | None = None,
    *,
    unknown: bool | None = None,
) -> bool | None:
    """What a condition is on the target; None: unknown.

    Args:
        word: of the directive.
        condition: what follows the word.
        symbols: what is known on the target.
        numbers: values of names, which count more than what is known.
        unknown: what names count as of which nothing is known.

    >>> evaluate("if", "defined(A) && B >= 7", Symbols(false=("B",)))
    False
    >>> evaluate("ifndef", "A", Symbols(true=("A",)))
    False
    """
    if word in ("ifdef", "ifndef"):
        name = _NAME.search(condition)
        value = (True if name[0] in (numbers or {}) else symbols.value(name[0])) if name else None
        return value if value is None or word == "ifdef" else not value
    tokens = ["".join(found) for found in _TOKEN.findall(condition[:2000])]
    value_of = _Condition(tokens, symbols, numbers or {}, unknown).either()
    return None if value_of is None else bool(value_of)


class _Condition:
    """Reads a condition from left to right; a number is its value, None is unknown."""

    def __init__(self, tokens: list[str], symbols: Symbols, numbers: Mapping[str, int], unknown: bool | None) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.symbols = symbols
        self.numbers = numbers
        self.unknown = unknown

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
            known = True if self._peek() in self.numbers else self.symbols.value(self._peek())
            known = self.unknown if known is None else known
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
            known = self.symbols.value(name)
            return 0 if known is False or self.unknown is False else (1 if self.unknown else None)
        if name in self.numbers:
            return self.numbers[name]
        known = self.symbols.value(name)
        known = self.unknown if known is None else known
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
