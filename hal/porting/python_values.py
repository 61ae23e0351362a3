"""Whether the arguments of a call, or the sides of a comparison, are those that a rule describes."""

from __future__ import annotations

import ast
import re

from hal.porting.rule import Argument, Compared

__all__ = ["fits", "holds", "is_against", "within"]

_LARGEST_MAJOR = 12
"""Larger numbers stand for a major and a minor number in one: 89 is 8.9."""
_ORDERINGS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def within(module: str, names: tuple[str, ...]) -> bool:
    """Whether a module is one of these, or a part of one."""
    return any(module == each or module.startswith(each + ".") for each in names)


def fits(argument: Argument | None, call: ast.Call) -> bool:
    """Whether a call is given the argument that a rule describes."""
    if argument is None:
        return True
    given: list[ast.expr] = []
    if argument.position is not None and len(call.args) > argument.position:
        given.append(call.args[argument.position])
    given += [each.value for each in call.keywords if argument.name is not None and each.arg == argument.name]
    if argument.missing:
        return not given and all(each.arg is not None for each in call.keywords)
    return any(holds(each, argument.above, argument.matches) for each in given)


def holds(value: ast.expr, above: int | None, matches: str | None) -> bool:
    """Whether a constant, or one in a tuple, a list or a choice, is above a number or matches; without both, yes."""
    if above is None and matches is None:
        return True
    for node in ast.walk(value):
        if not isinstance(node, ast.Constant):
            continue
        if above is not None and type(node.value) is int and node.value > above:
            return True
        if matches is not None and isinstance(node.value, str) and re.fullmatch(matches, node.value):
            return True
    return False


def is_against(side: ast.expr, detection: Compared, operator: ast.cmpop) -> bool:
    """Whether a side of a comparison is what a rule describes."""
    constants = [node.value for node in ast.walk(side) if isinstance(node, ast.Constant)]
    if detection.against == "none":
        return constants == [None]
    if detection.against == "string":
        return any(isinstance(each, str) and re.fullmatch(detection.matches or ".*", each) for each in constants)
    numbers = _numbers(side, operator)
    ordered = isinstance(operator, _ORDERINGS)
    if isinstance(operator, ast.Gt | ast.LtE):
        numbers = [each + 1 if each == int(each) else each for each in numbers]  # above 8 is 9 or more
    if not numbers:
        return not constants and ordered and detection.below is None  # a variable: some limit
    if detection.below is not None:
        return ordered and max(numbers) < detection.below
    return detection.at_least is None or not ordered or max(numbers) >= detection.at_least


def _numbers(side: ast.expr, operator: ast.cmpop) -> list[float]:
    """The numbers of a side, each as major.minor.

    >>> _numbers(ast.parse("(8, 9)").body[0].value, ast.Lt()), _numbers(ast.parse("89").body[0].value, ast.Lt())
    ([8.9], [8.9])
    """
    if isinstance(side, ast.Tuple | ast.List | ast.Set):
        parts = [number for each in side.elts for number in _numbers(each, operator)]
        if isinstance(operator, ast.In | ast.NotIn) or not parts:
            return parts
        return [parts[0] + (parts[1] / 10 if len(parts) > 1 else 0)]
    found: list[float] = []
    for node in ast.walk(side):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            found.append(node.value / 10 if node.value > _LARGEST_MAJOR else node.value)
    return found
