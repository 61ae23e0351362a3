"""What names in a Python file stand for: imports, aliases, and where the values of variables come from."""

from __future__ import annotations

import ast
import fnmatch
import functools
import re
from collections.abc import Collection, Iterator

__all__ = ["Names", "children_of", "matches_name"]

_DEPTH = 40
_ROUNDS = 3
_PASSED_ON = frozenset(
    "int float str tuple list parse Version LooseVersion join split replace map sorted max min".split()
)
"""Functions whose result is made of what they are given."""
_FIELDS: dict[type, tuple[str, ...]] = {
    ast.Attribute: ("value",),
    ast.BinOp: ("left", "right"),
    ast.Call: ("func", "args", "keywords"),
    ast.Compare: ("left", "comparators"),
    ast.Subscript: ("value", "slice"),
    ast.keyword: ("value",),
}
"""Fields of frequent nodes that hold expressions; looking at all fields of all nodes takes twice as long."""


@functools.lru_cache(maxsize=1024)
def _one(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(each) for each in patterns))


@functools.lru_cache(maxsize=65536)
def matches_name(patterns: tuple[str, ...], name: str) -> bool:
    """Whether a dotted name is one of these; ``*`` in them stands for any characters."""
    return _one(patterns).match(name) is not None


class Names:
    """Resolves the names of a file.

    Args:
        tree: the file.
        watched: names whose values are followed through variables, ``*`` for any characters.
    """

    def __init__(self, tree: ast.Module, watched: Collection[str]) -> None:
        self.aliases: dict[str, str] = {}
        self.imported: set[str] = set()
        self._watched = (*watched, *{each.rpartition(".")[0] for each in watched if each.count(".") > 1})
        self._origins: dict[tuple[int, str], frozenset[str]] = {}
        self._results: dict[str, frozenset[str]] = {}
        self._parents: dict[int, int] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self._note_statements(tree)
        if self._watched:
            assigned = list(_assignments(tree, 0, self._parents))
            for _ in range(_ROUNDS):
                if not self._flow(assigned):
                    break

    def _note_statements(self, tree: ast.Module) -> None:
        """Imports, functions, and variables that are another name for a part of a module."""
        values: dict[str, list[ast.expr]] = {}
        others: set[str] = set()
        twice: set[str] = set()
        for node in _statements(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._note_import(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                held = node.args
                others |= {each.arg for each in (*held.posonlyargs, *held.args, *held.kwonlyargs)}
                if node.name in self.functions or isinstance(node, ast.AsyncFunctionDef):
                    twice.add(node.name)
                else:
                    self.functions[node.name] = node
            elif isinstance(node, ast.For | ast.AsyncFor) and isinstance(node.target, ast.Name):
                others.add(node.target.id)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values.setdefault(node.targets[0].id, []).append(node.value)
        for name in twice:
            self.functions.pop(name, None)
        modules = {each.partition(".")[0] for each in self.imported}
        for name, given in values.items():
            if name in others or not isinstance(given[0], ast.Attribute | ast.Call):
                continue
            if any(self.dotted(each) != self.dotted(given[0]) for each in given[1:]):
                continue
            full = self.dotted(given[0])
            if full is not None and "(" not in full and (name.isupper() or full.partition(".")[0] in modules):
                self.aliases.setdefault(name, full)

    def _note_import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported.add(alias.name)
                first = alias.name.partition(".")[0]
                self.aliases[alias.asname or first] = alias.name if alias.asname else first
            return
        module = "." * node.level + (node.module or "")
        self.imported.add(module)
        for alias in node.names:
            self.imported.add(f"{module}.{alias.name}")
            self.aliases[alias.asname or alias.name] = f"{module}.{alias.name}"

    def dotted(self, node: ast.AST) -> str | None:
        """The full name that an expression such as ``T.cuda.x`` stands for; None: it is no name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Call) and len(node.args) >= 2 and self.dotted(node.func) == "getattr":
            held, name = node.args[:2]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and (inner := self.dotted(held)):
                return ".".join([inner, name.value, *reversed(parts)])
            return None
        if isinstance(node, ast.Call) and (called := self.dotted(node.func)):
            return ".".join([f"{called}()", *reversed(parts)])
        if isinstance(node, ast.Subscript) and (indexed := self.dotted(node.value)):
            return ".".join([f"{indexed}[]", *reversed(parts)])
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self.aliases.get(node.id, node.id), *reversed(parts)])

    def words_for(self, words: Collection[str]) -> set[str]:
        """Aliases that stand for names with some words, and variables and functions whose values are followed."""
        held = {alias for alias, full in self.aliases.items() if alias != full and any(each in full for each in words)}
        followed = {name.rpartition(".")[2] for _, name in self._origins}
        return held | followed | set(self._results)

    def imports(self, modules: Collection[str]) -> bool:
        """Whether the file imports one of these modules or a part of one."""
        return any(name == each or name.startswith(each + ".") for name in self.imported for each in modules)

    def origins(self, node: ast.AST, scope: int, depth: int = 0) -> frozenset[str]:
        """The watched names that the value of an expression is made of."""
        if depth > _DEPTH:
            return frozenset()
        again = functools.partial(self.origins, scope=scope, depth=depth + 1)
        if isinstance(node, ast.Name | ast.Attribute):
            name = self.dotted(node) or ""
            if self._is_watched(name):
                return frozenset([name])
            own = ast.unparse(node) if isinstance(node, ast.Attribute) and name.count(".") < 3 else name
            found = self._lookup(scope, own)
            if found or isinstance(node, ast.Name):
                return found
            held = {f"{each}.{node.attr}": each for each in again(node.value)}
            return frozenset(part if self._is_watched(part) else each for part, each in held.items())
        if isinstance(node, ast.Call):
            name = self.dotted(node.func) or ""
            last = name.rpartition(".")[2]
            if self._is_watched(name):
                return frozenset([name])
            if last in self._results and name in (last, f"self.{last}", f"cls.{last}"):
                return self._results[last]
            inner = again(node.func.value) if isinstance(node.func, ast.Attribute) else frozenset()
            return inner.union(*map(again, node.args)) if last in _PASSED_ON else inner
        return frozenset().union(*map(again, _operands(node)))

    def _is_watched(self, name: str) -> bool:
        return bool(self._watched) and bool(name) and matches_name(self._watched, name)

    def _lookup(self, scope: int, name: str) -> frozenset[str]:
        while True:
            if found := self._origins.get((scope, name)):
                return found
            if scope == 0:
                return frozenset()
            scope = self._parents.get(scope, 0)

    def _flow(self, assigned: list[tuple[int, ast.AST, ast.AST]]) -> bool:
        """Follow each assignment once; whether something new was found."""
        new = False
        for scope, place, value in assigned:
            found = self.origins(value, scope)
            if not found:
                continue
            if isinstance(place, ast.FunctionDef | ast.AsyncFunctionDef):
                new |= not found <= self._results.get(place.name, frozenset())
                self._results[place.name] = self._results.get(place.name, frozenset()) | found
                continue
            for each in place.elts if isinstance(place, ast.Tuple | ast.List) else [place]:
                if isinstance(each, ast.Name | ast.Attribute):
                    inner = isinstance(each, ast.Attribute)
                    key = (0 if inner else scope, ast.unparse(each))
                    new |= not found <= self._origins.get(key, frozenset())
                    self._origins[key] = self._origins.get(key, frozenset()) | found
        return new


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements, also those inside others; expressions hold none."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            pending += getattr(node, name, ())


def _operands(node: ast.AST) -> list[ast.expr]:
    """The expressions of which the value of another one is made; none for calls and names."""
    match node:
        case ast.Subscript() | ast.Starred() | ast.FormattedValue() | ast.NamedExpr():
            return [node.value]
        case ast.BinOp():
            return [node.left, node.right]
        case ast.Tuple() | ast.List():
            return node.elts
        case ast.JoinedStr() | ast.BoolOp():
            return node.values
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.GeneratorExp() | ast.ListComp():
            return [each.iter for each in node.generators]
        case ast.UnaryOp():
            return [node.operand]
    return []


def _assignments(tree: ast.AST, scope: int, parents: dict[int, int]) -> Iterator[tuple[int, ast.AST, ast.AST]]:
    """Each assignment with its scope, what is assigned to, and the value; a return assigns to its function."""
    pending: list[tuple[ast.AST, int, ast.AST | None]] = [(tree, scope, None)]
    while pending:
        node, scope, function = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parents[id(node)] = scope
            scope, function = id(node), node
        elif isinstance(node, ast.Assign):
            yield from ((scope, place, node.value) for place in node.targets)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            yield scope, node.target, node.value
        elif isinstance(node, ast.Return) and node.value is not None and function is not None:
            yield scope, function, node.value
        pending += [(child, scope, function) for child in ast.iter_child_nodes(node)]


def children_of(node: ast.AST) -> list[ast.AST]:
    """The expressions of which a node consists, and what holds more of them."""
    fields = _FIELDS.get(type(node))
    if fields is None:
        return list(ast.iter_child_nodes(node))
    found: list[ast.AST] = []
    for name in fields:
        held = getattr(node, name)
        if isinstance(held, list):
            found += held
        else:
            found.append(held)
    return found
