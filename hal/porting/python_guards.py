"""Which parts of a Python file run on the target: conditions that are known there, and what they leave out."""

from __future__ import annotations

import ast
import enum
import re
from collections.abc import Iterable

from hal.porting.catalogue import Symbols
from hal.porting.python_names import Names

__all__ = ["Catches", "Reach", "asks_for_tool", "catches", "guarded_names", "leaves", "mentions", "reach_of", "truth"]

_EXITS = frozenset("sys.exit os._exit exit quit pytest.skip".split())
_IMPORT_ERRORS = frozenset("ImportError ModuleNotFoundError Exception BaseException".split())
_BROAD = frozenset("Exception BaseException".split())
_ASKED = re.compile(
    r"""(?:^|\W|_)(?:is|has|have|use|with|enable)_\w+|_available|find_spec|HAS_|_AVAILABLE|==\s*['"]""",
)
"""Conditions about a package, or about what the user chose."""
_TOOL_ASKED = re.compile(
    r"\b(?:which|find_executable|exists|isfile|isdir|is_file|is_dir)\(|\bos\.system\(|\bin os\.environ\b"
)
"""Conditions that ask whether a program, a file or a setting is there."""


class Reach(enum.Enum):
    """Whether a part of a file concerns the target."""

    RUNS = "it runs there, or may"
    LEFT_OUT = "it does not run there, or was written for it"


class Catches(enum.Flag):
    """What a try statement catches."""

    NOTHING = 0
    IMPORTS = enum.auto()
    FAILURES = enum.auto()


def truth(test: ast.expr, names: Names, symbols: Symbols, known: dict[str, bool], depth: int = 0) -> bool | None:
    """What a condition is on the target; None: unknown.

    Args:
        test: the condition.
        names: of its file.
        symbols: what is known on the target.
        known: variables whose truth is known.
        depth: of conditions around this one.
    """
    if depth > 50:
        return None
    match test:
        case ast.Constant(value=bool() as value):
            return value
        case ast.UnaryOp(op=ast.Not()):
            inner = truth(test.operand, names, symbols, known, depth + 1)
            return None if inner is None else not inner
        case ast.BoolOp():
            values = [truth(each, names, symbols, known, depth + 1) for each in test.values]
            decisive = isinstance(test.op, ast.Or)
            if decisive in values:
                return decisive
            return None if None in values else not decisive
        case ast.Compare(ops=[op], comparators=[other]):
            return _compared(test.left, op, other, names, symbols)
        case ast.Call(func=ast.Name(id="bool"), args=[inner]):
            return truth(inner, names, symbols, known, depth + 1)
        case ast.Call(func=ast.Name(id="hasattr"), args=[held, ast.Constant(value=str() as attribute)]):
            return symbols.value(f"hasattr {names.dotted(held)}.{attribute}")
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Name(id="TYPE_CHECKING"):
            return False
    dotted = names.dotted(test)
    if dotted is None:
        return None
    found = symbols.value(dotted)
    function = names.functions.get(dotted.removeprefix("self.").removesuffix("()")) if dotted.endswith("()") else None
    if found is None and function is not None:
        return _returned(function.body, names, symbols, {}, depth + 10)
    return found


def _returned(
    body: Iterable[ast.stmt], names: Names, symbols: Symbols, known: dict[str, bool], depth: int
) -> bool | None:
    """What a function returns on the target, where its statements are simple enough to say; None: unknown."""
    for statement in body:
        match statement:
            case ast.Expr() | ast.Import() | ast.ImportFrom():
                continue
            case ast.Assign(targets=[ast.Name(id=name)]):
                held = truth(statement.value, names, symbols, known, depth)
                if held is not None:
                    known[name] = held
            case ast.Return(value=ast.expr() as returned):
                return truth(returned, names, symbols, known, depth)
            case ast.If():
                value = truth(statement.test, names, symbols, known, depth)
                if value is None:
                    return None
                taken = statement.body if value else statement.orelse
                if leaves(taken, names):
                    return _returned(taken, names, symbols, known, depth)
                if taken:
                    return None
            case _:
                return None
    return None


def _compared(left: ast.expr, op: ast.cmpop, other: ast.expr, names: Names, symbols: Symbols) -> bool | None:
    if not isinstance(other, ast.Constant):
        return None
    equal = isinstance(op, ast.Is | ast.Eq)
    if not equal and not isinstance(op, ast.IsNot | ast.NotEq):
        return None
    name = names.dotted(left)
    if name is None and isinstance(left, ast.Subscript):
        name = ast.unparse(left)
    if other.value is None:
        if name is None or not (symbols.is_none(name) or symbols.value(name)):
            return None
        return symbols.is_none(name) is equal
    if isinstance(other.value, bool) and name is not None:
        value = symbols.value(name)
        return None if value is None else (value is other.value) is equal
    if isinstance(other.value, str) and name is not None:
        value = symbols.value(f"{name} == {other.value}")
        return None if value is None else value is equal
    return None


def mentions(test: ast.AST, names: Names, symbols: Symbols, *, by_name: bool = False) -> bool:
    """Whether a condition shows that its author thought of the target.

    Args:
        test: the condition.
        names: of its file.
        symbols: what is known on the target.
        by_name: names that are merely None on the target do not count.
    """
    for node in ast.walk(test):
        name = names.dotted(node) if isinstance(node, ast.Name | ast.Attribute | ast.Call) else None
        if name is not None and symbols.mentions(name) and not (by_name and symbols.is_none(name)):
            return True
        if isinstance(node, ast.Compare) and (said := _strings(node)) and any(map(symbols.mentions, said)):
            return True
    return False


def _strings(node: ast.Compare) -> list[str]:
    return [
        each.value
        for side in (node.left, *node.comparators)
        for each in (side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side])
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]


def reach_of(test: ast.expr, names: Names, symbols: Symbols, known: dict[str, bool]) -> tuple[Reach, Reach]:
    """The reach of what stands under a condition, and of what stands under its opposite."""
    value = truth(test, names, symbols, known)
    if value is None:
        return Reach.RUNS, Reach.RUNS
    if mentions(test, names, symbols):
        elsewhere = truth(test, names, Symbols(false=symbols.true), {}) if value else False
        return (Reach.LEFT_OUT if elsewhere is False else Reach.RUNS), (Reach.LEFT_OUT if value else Reach.RUNS)
    return (Reach.RUNS, Reach.LEFT_OUT) if value else (Reach.LEFT_OUT, Reach.RUNS)


def guarded_names(test: ast.expr, names: Names) -> list[str]:
    """The names that a condition has asked for with ``hasattr`` before they are used."""
    parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
    return [
        f"{names.dotted(held)}.{attribute}"
        for part in parts
        if isinstance(part, ast.Call) and names.dotted(part.func) == "hasattr" and len(part.args) == 2
        for held, attribute in [(part.args[0], getattr(part.args[1], "value", ""))]
        if isinstance(attribute, str) and attribute
    ]


def leaves(body: Iterable[ast.stmt], names: Names) -> bool:
    """Whether statements always leave the block around them."""
    last = list(body)[-1:]
    if not last:
        return False
    if isinstance(last[0], ast.Return | ast.Raise | ast.Continue | ast.Break):
        return True
    if isinstance(last[0], ast.If) and last[0].orelse:
        return leaves(last[0].body, names) and leaves(last[0].orelse, names)
    call = last[0].value if isinstance(last[0], ast.Expr) else None
    return isinstance(call, ast.Call) and names.dotted(call.func) in _EXITS


def asks_for_tool(test: ast.expr) -> Catches:
    """What a condition handles that asks whether a program, a file or a setting is there."""
    asked = _TOOL_ASKED.search(ast.unparse(test))
    return Catches.IMPORTS | Catches.FAILURES if asked else Catches.NOTHING


def catches(node: ast.stmt, names: Names, *, in_function: bool) -> Catches:
    """What a try statement, a ``with suppress(...)`` or a condition about a package handles.

    Args:
        node: the statement.
        names: of its file.
        in_function: whether it runs only when a function is called. An import there whose handler raises an error in
            plain words belongs to a part of the program that can be left alone; in a module it stops the whole program.
    """
    if isinstance(node, ast.If):
        test = ast.unparse(node.test)
        found = Catches.IMPORTS if _ASKED.search(test) else Catches.NOTHING
        return found | asks_for_tool(node.test)
    caught: set[str] = set()
    if isinstance(node, ast.Try | ast.TryStar):
        for handler in node.handlers:
            types = {"BaseException"} if handler.type is None else set(_named(handler.type, names))
            if any(isinstance(each, ast.Raise) for each in handler.body):
                types = types & _IMPORT_ERRORS - _BROAD if in_function else set()
            caught |= types
    elif isinstance(node, ast.With | ast.AsyncWith):
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and (names.dotted(call.func) or "").endswith("suppress"):
                caught |= {name for each in call.args for name in _named(each, names)}
    handled = Catches.IMPORTS if caught & _IMPORT_ERRORS else Catches.NOTHING
    return handled | (Catches.FAILURES if caught & _BROAD or caught - _IMPORT_ERRORS else Catches.NOTHING)


def _named(node: ast.expr, names: Names) -> Iterable[str]:
    for each in node.elts if isinstance(node, ast.Tuple) else [node]:
        yield names.dotted(each) or ""
