"""Which functions of a Python file are called on the target at all."""

from __future__ import annotations

import ast
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

from hal.porting.places import Match
from hal.porting.python_names import Names

__all__ = ["Calls"]


class Calls:
    """Notes where the functions of a file are named: in parts that run on the target, or only in parts left out there.

    A function that nothing names may be called from other files, so it counts as called.

    Args:
        names: of the file.
    """

    def __init__(self, names: Names) -> None:
        self._functions = names.functions
        self._modules = {each.partition(".")[0] for each in names.imported}
        self._names = names
        self._matches: dict[str, list[Match]] = defaultdict(list)
        self._named_in: dict[str, set[str]] = defaultdict(set)
        self._left_out: set[str] = set()
        self._around = [""]

    @property
    def around(self) -> str:
        """The function whose body is looked at; empty: none."""
        return self._around[-1]

    @property
    def any_found(self) -> bool:
        """Whether something was found in a function."""
        return any(self._matches.values())

    @contextlib.contextmanager
    def inside(self, function: str) -> Iterator[None]:
        """While the body of a function is looked at."""
        self._around.append(function)
        yield
        self._around.pop()

    def found(self, function: str, matches: list[Match]) -> None:
        """Note what was found in a function."""
        self._matches[function] += matches

    def reached(self, node: ast.Name | ast.Attribute) -> None:
        """Note a name in a part that runs on the target."""
        name = self._function(node)
        if name is not None:
            self._named_in[self._around[-1]].add(name)

    def left_out(self, nodes: Iterable[ast.AST]) -> None:
        """Note the names in parts that do not run on the target."""
        for root in nodes:
            for node in ast.walk(root):
                if isinstance(node, ast.Name | ast.Attribute) and (name := self._function(node)) is not None:
                    self._left_out.add(name)

    def _function(self, node: ast.Name | ast.Attribute) -> str | None:
        """The function of this file that a name stands for, perhaps; parts of modules are none."""
        name = node.id if isinstance(node, ast.Name) else node.attr
        if name not in self._functions:
            return None
        root = (self._names.dotted(node) or "").partition(".")[0]
        return None if isinstance(node, ast.Attribute) and root in self._modules else name

    def matches_in_live_functions(self) -> Iterator[Match]:
        """What was found in functions that are called on the target, or may be."""
        dead = self._dead()
        for name, matches in self._matches.items():
            if name not in dead:
                yield from matches

    def _dead(self) -> set[str]:
        dead: set[str] = set()
        while True:
            suspects = self._left_out.union(*(self._named_in[each] for each in dead)) - dead
            alive: set[str] = set()
            for around, named in self._named_in.items():
                if around not in dead:
                    alive |= named - {around}
            if not suspects - alive:
                return dead
            dead |= suspects - alive
