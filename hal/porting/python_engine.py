"""Finds what rules describe in Python files, from the syntax tree alone; nothing of the file is executed."""

from __future__ import annotations

import ast
import gc
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator

from hal.porting.catalogue import Symbols, vocabulary
from hal.porting.places import Match
from hal.porting.python_detections import Detections
from hal.porting.python_guards import (
    Catches,
    Reach,
    asks_for_tool,
    catches,
    guarded_names,
    leaves,
    mentions,
    reach_of,
    truth,
)
from hal.porting.python_lines import Lines
from hal.porting.python_names import Names, children_of, matches_name
from hal.porting.python_reach import Calls
from hal.porting.python_values import fits, holds, is_against, within
from hal.porting.rule import (
    Assigned,
    Compared,
    Imported,
    KeywordArgument,
    Rule,
    StringConstant,
    TakenApart,
    Used,
)

__all__ = ["PythonEngine", "PythonSyntaxError"]

_Check = Callable[[ast.expr | ast.keyword, int, tuple[str, ...]], Iterator[tuple[Rule, str]]]
_LISTED = "[]"
"""Stands among the calls around an expression for a list, a set or a comparison."""
_CAUGHT = "try"
"""The same for a statement whose failure is caught."""
_TABLE = "{}"
"""The same for a table; a string in it may be the name of a setting that is made."""
_EXPRESSIONS = (ast.expr, ast.keyword, ast.withitem, ast.arguments)
_CONVERTERS = frozenset("int float parse Version LooseVersion tuple list len".split())
_BUILD_FILES = re.compile(r"(?:^|/)(?:setup|build|builders?|[\w-]+_build(?:er)?s?)(?:/|\w*\.py$)")


class PythonSyntaxError(Exception):
    """The text is no Python that can be read."""


class PythonEngine:
    """Looks for the detections of some rules.

    Args:
        rules: the rules.
        symbols: what is known on the target.
    """

    def __init__(self, rules: Iterable[Rule], symbols: Symbols) -> None:
        self.symbols = symbols
        self.detections = Detections(rules)

    def find(self, text: str, path: str) -> list[Match]:
        """What is wrong in a file.

        Args:
            text: of the file.
            path: its name, which says whether it builds a package.

        Raises:
            PythonSyntaxError: it cannot be read as Python.
        """
        try:
            return sorted(set(_File(self, _parsed(text), text, path).matches()))
        except SyntaxError as error:
            raise PythonSyntaxError(f"line {error.lineno}: {error.msg}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise PythonSyntaxError(str(error) or "it is nested too deeply") from error


def _parsed(text: str) -> ast.Module:
    """The tree of a text. Trees hold no cycles, and looking for cycles in them takes half of the time of reading."""
    collects = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    finally:
        if collects:
            gc.enable()


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a statement, without those of the statements inside it; an expression itself."""
    if isinstance(node, ast.expr):
        yield node
        return
    for _, held in ast.iter_fields(node):
        for each in held if isinstance(held, list) else [held]:
            if isinstance(each, _EXPRESSIONS):
                yield each


class _File:
    """One file."""

    def __init__(self, engine: PythonEngine, tree: ast.Module, text: str, path: str) -> None:
        self.symbols = engine.symbols
        self.detections = engine.detections
        self.tree = tree
        self.names = Names(tree, self.detections.watched_in(text))
        self.builds = _BUILD_FILES.search(path) is not None or self.names.imports(vocabulary().build_modules)
        self.known: dict[str, bool] = {}
        self.enforced: set[int] = set()
        self.guarded: list[str] = []
        self.calls = Calls(self.names)
        words = self.detections.words | self.names.words_for(self.detections.words)
        self.lines = Lines(text, None if self.builds else words)
        self.skipped: list[tuple[ast.AST, int, Catches, str, dict[str, bool]]] = []
        self.checks: dict[type, tuple[_Check, ...]] = {
            ast.Name: (self._uses,),
            ast.Attribute: (self._uses, self._taken_apart),
            ast.Subscript: (self._taken_apart,),
            ast.Call: (self._calls, self._taken_apart),
            ast.keyword: (self._keywords,),
            ast.Compare: (self._compares, self._taken_apart),
            ast.Constant: (self._strings,),
        }

    def matches(self) -> Iterator[Match]:
        outside = list(self._block(self.tree.body, 0, Catches.NOTHING))
        yield from outside
        if self.calls.any_found:  # in the lines without words it may say which functions are called
            for node, scope, caught, function, known in self.skipped:
                self.known = known
                with self.calls.inside(function):
                    for each in _parts(node):
                        list(self._expressions(each, scope, caught))
        yield from self.calls.matches_in_live_functions()

    def _block(self, body: Iterable[ast.stmt], scope: int, caught: Catches) -> Iterator[Match]:
        """Walk statements that run one after another."""
        statements = iter(body)
        for statement in statements:
            if isinstance(statement, ast.If):
                done = yield from self._if(statement, scope, caught)
                if done:
                    self.calls.left_out(statements)
                    return
                continue
            yield from self._statement(statement, scope, caught)
            inner = caught
            if isinstance(statement, ast.Try | ast.TryStar | ast.With | ast.AsyncWith):
                inner |= catches(statement, self.names, in_function=scope != 0)
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                with self.calls.inside(statement.name):
                    self.calls.found(statement.name, list(self._block(statement.body, id(statement), caught)))
            elif isinstance(statement, ast.Try | ast.TryStar):
                yield from self._block(statement.body, scope, inner)
                for handler in statement.handlers:
                    yield from self._block(handler.body, scope, caught)
                yield from self._block([*statement.orelse, *statement.finalbody], scope, caught)
            elif isinstance(statement, ast.Match):
                for case in statement.cases:
                    yield from self._block(case.body, scope, caught)
            else:
                yield from self._block(getattr(statement, "body", ()), scope, inner)
                yield from self._block(getattr(statement, "orelse", ()), scope, caught)

    def _if(self, statement: ast.If, scope: int, caught: Catches) -> Generator[Match, None, bool]:
        """Walk a chain of conditions; returns whether nothing after it runs on the target."""
        while True:
            if any(isinstance(each, ast.Raise) for each in statement.body):
                self.enforced |= {id(each) for each in ast.walk(statement.test)}
            test = statement.test
            if self.lines.between(test.lineno, test.end_lineno or test.lineno):
                yield from self._expressions(test, scope, caught | asks_for_tool(test))
            else:
                self.skipped.append((test, scope, caught, self.calls.around, dict(self.known)))
            then, otherwise = reach_of(statement.test, self.names, self.symbols, self.known)
            value = truth(statement.test, self.names, self.symbols, self.known)
            if then is Reach.RUNS:
                asked = guarded_names(statement.test, self.names)
                self.guarded += asked
                yield from self._block(
                    statement.body, scope, caught | catches(statement, self.names, in_function=scope != 0)
                )
                del self.guarded[len(self.guarded) - len(asked) :]
            else:
                self.calls.left_out(statement.body)
            if otherwise is Reach.LEFT_OUT:
                self.calls.left_out(statement.orelse)
            if value is True and leaves(statement.body, self.names):
                return True
            if otherwise is Reach.LEFT_OUT:
                return False
            if len(statement.orelse) == 1 and isinstance(statement.orelse[0], ast.If):
                statement = statement.orelse[0]
                continue
            yield from self._block(statement.orelse, scope, caught)
            return value is False and leaves(statement.orelse, self.names)

    def _statement(self, node: ast.stmt, scope: int, caught: Catches) -> Iterator[Match]:
        """What stands in a statement itself, without the statements inside it."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from self._imports(node, caught)
            return
        if isinstance(node, ast.Assert):
            self.enforced |= {id(each) for each in ast.walk(node.test)}
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            yield from self._assigns(node, node.value)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        if self.lines.in_head(node):
            for each in _parts(node):
                yield from self._expressions(each, scope, caught)
        else:
            self.skipped.append((node, scope, caught, self.calls.around, dict(self.known)))

    def _expressions(self, root: ast.AST, scope: int, caught: Catches) -> Iterator[Match]:
        """All expressions that are reached on the target."""
        pending: list[tuple[ast.AST, tuple[str, ...]]] = [(root, (_CAUGHT,) if caught & Catches.FAILURES else ())]
        symbols = self.symbols
        while pending:
            node, calls = pending.pop()
            for check in self.checks.get(type(node), ()):
                assert isinstance(node, ast.expr | ast.keyword)
                for rule, what in check(node, scope, calls):
                    if not (rule.guarded_by_try and caught & Catches.FAILURES):
                        yield Match(node.lineno, node.col_offset + 1, rule.id, what)
            if isinstance(node, ast.Name | ast.Attribute):
                self.calls.reached(node)
            if isinstance(node, ast.Name | ast.Constant):
                continue
            children = children_of(node)
            if isinstance(node, ast.IfExp):
                then, otherwise = reach_of(node.test, self.names, symbols, self.known)
                parts = ((node.test, Reach.RUNS), (node.body, then), (node.orelse, otherwise))
                children = [each for each, reach in parts if reach is Reach.RUNS]
                self.calls.left_out(each for each, reach in parts if reach is not Reach.RUNS)
            elif isinstance(node, ast.BoolOp):
                if mentions(node, self.names, symbols, by_name=True):
                    continue
                children = list(self._until_decided(node))
                self.calls.left_out(node.values[len(children) :])
            elif isinstance(node, ast.Call):
                calls = (*calls, self.names.dotted(node.func) or "")
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                calls = (*calls, self.names.dotted(node.value) or "")
            elif isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Compare):
                calls = (*calls, _TABLE if isinstance(node, ast.Dict) else _LISTED)
            pending += [(child, calls) for child in children]

    def _until_decided(self, node: ast.BoolOp) -> Iterator[ast.expr]:
        """The operands of ``and`` or ``or`` that are evaluated on the target."""
        decisive = isinstance(node.op, ast.Or)
        for each in node.values:
            yield each
            if truth(each, self.names, self.symbols, self.known) is decisive:
                return

    def _imports(self, node: ast.Import | ast.ImportFrom, caught: Catches) -> Iterator[Match]:
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif node.level:
            return
        else:
            modules = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        for rule, detection in self.detections.of(Imported):
            if detection.needed and caught & Catches.IMPORTS:
                continue
            hit = next((each for each in modules if within(each, detection.imports)), None)
            if hit is not None:
                yield Match(node.lineno, node.col_offset + 1, rule.id, hit)

    def _assigns(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, value: ast.expr) -> Iterator[Match]:
        places = node.targets if isinstance(node, ast.Assign) else [node.target]
        for place in places:
            if isinstance(place, ast.Name) and isinstance(node, ast.Assign):
                known = truth(value, self.names, self.symbols, self.known)
                self.known.pop(place.id, None)
                if known is not None and not isinstance(value, ast.Constant):
                    self.known[place.id] = known
            name = self.names.dotted(place) if self.lines.in_head(node) else None
            if name is None:
                continue
            if isinstance(place, ast.Subscript) and isinstance(key := getattr(place.slice, "value", None), str):
                name = f"{name.removesuffix('[]')}.{key}"  # as in os.environ["NAME"]
            source = None
            for rule, detection in self.detections.of(Assigned):
                if re.fullmatch(detection.assigns, name.rpartition(".")[2]):
                    source = source or ast.unparse(value)
                    if re.fullmatch(detection.value, source):
                        yield Match(node.lineno, node.col_offset + 1, rule.id, name)
            for rule, used in self.detections.of(Used):
                if used.assigned is not None and matches_name(used.uses, name):
                    source = source or ast.unparse(value)
                    if re.fullmatch(used.assigned, source):
                        yield Match(node.lineno, node.col_offset + 1, rule.id, name)

    def _uses(self, node: ast.expr | ast.keyword, scope: int, calls: tuple[str, ...]) -> Iterator[tuple[Rule, str]]:
        name = self.names.dotted(node)
        if name is not None and not name.startswith(tuple(self.guarded)):
            in_list = bool(calls) and calls[-1] in (_LISTED, _TABLE)
            yield from ((rule, name) for rule, listed in self.detections.used(name) if listed or not in_list)

    def _calls(self, node: ast.expr | ast.keyword, scope: int, calls: tuple[str, ...]) -> Iterator[tuple[Rule, str]]:
        if isinstance(node, ast.Call) and (name := self.names.dotted(node.func)):
            for rule, detection in self.detections.called(name):
                if fits(detection.argument, node):
                    yield rule, name

    def _keywords(self, node: ast.expr | ast.keyword, scope: int, calls: tuple[str, ...]) -> Iterator[tuple[Rule, str]]:
        if not isinstance(node, ast.keyword):
            return
        for rule, detection in self.detections.of(KeywordArgument):
            if node.arg != detection.keyword:
                continue
            if detection.where_imported and not self.names.imports(detection.where_imported):
                continue
            if any(holds(each, detection.above, detection.matches) for each in self._chosen(node.value)):
                yield rule, f"{node.arg}={ast.unparse(node.value)}"

    def _chosen(self, value: ast.expr) -> list[ast.expr]:
        """The values that a choice such as ``a if x else b`` can have on the target."""
        if not isinstance(value, ast.IfExp):
            return [value]
        reaches = reach_of(value.test, self.names, self.symbols, self.known)
        parts = [part for part, reach in zip((value.body, value.orelse), reaches, strict=True) if reach is Reach.RUNS]
        return [each for part in parts for each in self._chosen(part)]

    def _compares(self, node: ast.expr | ast.keyword, scope: int, calls: tuple[str, ...]) -> Iterator[tuple[Rule, str]]:
        if not isinstance(node, ast.Compare):
            return
        sides = [node.left, *node.comparators]
        origins = [self.names.origins(side, scope) for side in sides]
        if not any(origins):
            return
        for rule, detection in self.detections.of(Compared):
            for at, found in enumerate(origins):
                hit = next((name for name in found if matches_name(detection.compares, name)), None)
                others = [side for other, side in enumerate(sides) if other != at]
                if detection.enforced and id(node) not in self.enforced:
                    continue
                if hit is not None and any(is_against(side, detection, node.ops[0]) for side in others):
                    yield rule, hit
                    break

    def _taken_apart(
        self, node: ast.expr | ast.keyword, scope: int, calls: tuple[str, ...]
    ) -> Iterator[tuple[Rule, str]]:
        held: list[ast.expr] = []
        if isinstance(node, ast.Attribute | ast.Subscript):
            held = [node.value]
        elif isinstance(node, ast.Call) and (self.names.dotted(node.func) or "").rpartition(".")[2] in _CONVERTERS:
            held = node.args[:1]
        elif isinstance(node, ast.Compare) and not isinstance(node.ops[0], ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
            held = [node.left, *node.comparators]
        for each in held:
            if not isinstance(each, ast.Name | ast.Attribute):
                continue
            origins = self.names.origins(each, scope)
            direct = self.names.dotted(each) or ""
            for rule, detection in self.detections.of(TakenApart):
                name = direct if matches_name(detection.takes_apart, direct) else ""
                if not name and isinstance(each, ast.Name) and not isinstance(node, ast.Call):
                    name = next((one for one in origins if matches_name(detection.takes_apart, one)), "")
                if name:
                    yield rule, name

    def _strings(self, node: ast.expr | ast.keyword, scope: int, calls: tuple[str, ...]) -> Iterator[tuple[Rule, str]]:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or len(node.value) > 2000:
            return
        for rule, detection in self.detections.of(StringConstant):
            if detection.where == "build" and not self.builds:
                continue
            if detection.inside and not any(matches_name(detection.inside, each) for each in calls):
                continue
            if detection.outside and any(matches_name(detection.outside, each) for each in calls):
                continue
            if detection.in_try and _CAUGHT not in calls:
                continue
            if not detection.listed and calls and calls[-1] == _LISTED:
                continue
            if re.fullmatch(detection.string, node.value):
                yield rule, node.value
