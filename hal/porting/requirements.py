"""Finds the packages that text files require: in lists, project files, environments and calls of installers."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from hal.porting.rule import Required

__all__ = ["Requirement", "fits", "names_package", "required_lines", "requirement_of", "requirements_in"]

_ONE = re.compile(
    r"""(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[(?P<extras>[\w\s,.-]*)\])?\s*
    (?P<version>\(?(?:===|==|~=|!=|<=|>=|<|>|=)\s*[^;#,\s'"]*(?:\s*,\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[^;#,\s'"]+)*\)?)?""",
    re.VERBOSE,
)
_INSTALL = re.compile(r"\b(?:pip3?|uv pip|uv|conda|mamba|micromamba|poetry)\s+(?:install|add)\s+([^&|\n]*)")
_ARGUMENT = re.compile(r"""["'](?P<quoted>[^"'\n]*)["']|(?P<bare>[^\s"']+)""")
_QUOTED = re.compile(r"""["']([A-Za-z0-9][^"'\n]{0,120})["']""")
_VERSION = re.compile(r"""["']([\d=<>~^!*][^"'\n]*)["']""")
_LISTED = re.compile(r"\s*(?:-\s+)?([A-Za-z0-9].*)")
_KEYED = re.compile(r"""\s*["']?([A-Za-z0-9][\w.-]*)["']?\s*[:=]\s*(.*)""")


_REQUIRING = re.compile(r"(?i).*(?:requir|depend|deps|extras).*")
"""Names of arguments, variables and functions that hold requirements."""


@dataclass(frozen=True)
class Requirement:
    """A package that is required, its extras, and its limits as they are written."""

    name: str
    extras: str
    version: str


def required_lines(text: str) -> str:
    r"""A ``setup.py`` with nothing but the lines that name what the package requires.

    >>> required_lines("name = 'a'\nsetup(name=name, install_requires=['b'])\n").split("\n")
    ['', "setup(name=name, install_requires=['b'])", '']
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    kept: set[int] = set()
    for node in ast.walk(tree):
        name = ""
        match node:
            case ast.keyword(arg=str() as name) | ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                pass
            case ast.AugAssign(target=ast.Name(id=name)) | ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
                pass
        if name and _REQUIRING.fullmatch(name):
            kept |= {
                line
                for each in ast.walk(node)
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
                for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)
            }
    return "\n".join(line if at in kept else "" for at, line in enumerate(text.split("\n"), 1))


def requirement_of(text: str) -> Requirement | None:
    """The requirement that a text is, such as ``torch[x]>=2``; None: it is none."""
    found = _ONE.match(text.strip())
    if found is None:
        return None
    rest = text.strip()[found.end() :]
    if rest and rest[0] not in " ;#@,\t'\")":
        return None
    name = re.sub(r"[-_.]+", "-", found["name"]).lower()
    return Requirement(name, (found["extras"] or "").lower(), (found["version"] or "").replace(" ", ""))


def requirements_in(line: str, kind: str) -> Iterator[tuple[int, Requirement]]:
    """The requirements in a line with their columns from 1.

    Args:
        line: without its comment.
        kind: of the file.
    """
    texts: list[tuple[int, str]] = []
    if kind in ("requirements", "environment"):
        if (listed := _LISTED.fullmatch(line)) and not listed[1].startswith("-"):
            texts.append((listed.start(1), listed[1].rpartition("::")[2]))  # conda names a channel before ::
    elif kind == "setup":
        texts += [(found.start(1), found[1]) for found in _QUOTED.finditer(line)]
    elif kind == "project":
        texts += [(found.start(1), found[1]) for found in _QUOTED.finditer(line)]
        if (keyed := _KEYED.fullmatch(line)) and (version := _VERSION.search(keyed[2])):
            limit = version[1] if version[1][:1] in "=<>~^!" else f"=={version[1]}"
            texts.append((keyed.start(1), keyed[1] + limit.replace("^", ">=")))
        elif (listed := _LISTED.fullmatch(line)) and '"' not in line and not re.search(r"(?<![=<>~!])=(?!=)", line):
            texts.append((listed.start(1), listed[1]))
    else:
        for call in _INSTALL.finditer(line):
            for word in _ARGUMENT.finditer(call[1]):
                group = word.lastgroup or "bare"
                if not word[group].startswith("-") and "/" not in word[group].partition("@")[0]:
                    texts.append((call.start(1) + word.start(group), word[group]))
    for column, text in texts:
        if (found := requirement_of(text)) is not None:
            yield column + 1, found


def names_package(detection: Required, package: str) -> bool:
    """Whether a rule is about a package of this name."""
    return any(re.fullmatch(each, package) for each in detection.requires)


def fits(requirement: Requirement, detection: Required) -> bool:
    """Whether a requirement has the extra and the version limits that the rule looks for."""
    if detection.extra is not None and re.search(detection.extra, requirement.extras) is None:
        return False
    if detection.pinned and re.search(r"(?:^|,|\()(?:=|~=|<)", requirement.version) is None:
        return False
    return detection.below is None or _allows_below(requirement.version, detection.below)


def _allows_below(version: str, bound: str) -> bool:
    """Whether limits fix a version below a bound; no limit lets the newest one be installed."""
    for operator, number in re.findall(r"(===|==|~=|<=|>=|<|>|=)v?([\d.]+)", version):
        if operator in ("==", "===", "=", "~=") and _numbers(number) < _numbers(bound):
            return True
        if operator in ("<", "<=") and _numbers(number) <= _numbers(bound):
            return True
    return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part[:9]) for part in version.split(".") if part)
