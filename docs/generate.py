"""Writes docs/contract.md, the table of a backend's methods, from the docstrings of hal/contract.

Run ``python docs/generate.py`` after changing a method of the contract; a test fails until it is done.

Of each docstring it takes the first sentence, the paragraph that begins with "Called", the one that begins with "By
default", and the one that begins with "Since version" where a method came later than 0.1. The headings are the comments
in the class that begin with "# What".
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hal.contract import Backend, BuildsTargets, CountsCosts, ExportsPrograms, Group, MeasuresDevices, SpreadsOver

PAGE = Path(__file__).with_name("contract.md")

HEAD = """# What a backend does

`docs/generate.py` writes this page from the docstrings in `hal/contract/`. The docstrings contain more: arguments,
errors, examples, and the laws that hold for all methods (in the docstring of `Backend`).
[CONTRIBUTING](../CONTRIBUTING.md) explains how to add a backend.
"""
EXTRA = {
    SpreadsOver: "Optional: several devices or processes",
    BuildsTargets: "Optional: hardware that is not present",
    CountsCosts: "Optional: counting costs",
    MeasuresDevices: "Optional: what `hal card` wants beside the neutral API",
    ExportsPrograms: "Optional: files for other runtimes",
}


def page() -> str:
    """The text of docs/contract.md."""
    parts = [HEAD, f"## `Backend`\n\n{_summary(Backend)}\n", _attributes(Backend)]
    for heading, methods in _sections(Backend).items():
        parts.append(f"### {heading}\n\n{_table(methods)}")
    for cls, heading in EXTRA.items():
        parts.append(f"## {heading}\n\n`{cls.__name__}`: {_lowered(_summary(cls))} It is derived from `Backend`.\n")
        parts += [_table(methods) for methods in _sections(cls).values()]
    parts.append(
        "## `Group`\n\nWhat `SpreadsOver.group` returns. The class itself represents a single device. A runtime "
        "overrides what differs for several devices.\n"
    )
    rows = [f"| `{name}{_signature(method)}` | {_summary(method)} |\n" for name, method in _methods(Group)]
    parts.append("| method | what it does |\n| --- | --- |\n" + "".join(rows))
    return "\n".join(parts)


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    return ((name, held) for name, held in vars(cls).items() if name[0] != "_" and callable(held))


def _sections(cls: type) -> dict[str, list[tuple[str, Any]]]:
    """The public methods of a class in order, under the headings of its source."""
    found: dict[str, list[tuple[str, Any]]] = {}
    heading, methods = "", dict(_methods(cls))
    for line in inspect.getsource(cls).splitlines():
        if title := re.fullmatch(r"    # (What .*)", line):
            heading = title[1]
        if (method := re.match(r"    def (\w+)\(", line)) and method[1] in methods:
            found.setdefault(heading, []).append((method[1], methods[method[1]]))
    return found


def _table(methods: list[tuple[str, Any]]) -> str:
    rows = ["| method | what it does | called | by default | since |\n| --- | --- | --- | --- | --- |\n"]
    for name, method in methods:
        abstract = getattr(method, "__isabstractmethod__", False)
        default = "required" if abstract else _paragraph(method, "By default ")
        since = _paragraph(method, "Since version ", missing="0.1").rstrip(".")
        cells = (f"`{name}{_signature(method)}`", _summary(method), _paragraph(method, "Called "), default, since)
        rows.append(f"| {' | '.join(cells)} |\n")
    return "".join(rows)


def _attributes(cls: type) -> str:
    """A table of the attributes that a class declares, each with the text below it."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef))
    rows = ["| attribute | what it says | default |\n| --- | --- | --- |\n"]
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            default = "required" if node.value is None else f"`{ast.unparse(node.value)}`"
            rows.append(f"| `{ast.unparse(node.target)}` | {_plain(str(below.value.value))} | {default} |\n")
    return "".join(rows)


def _signature(method: Any) -> str:
    """The arguments by name, as they are written in a call."""
    found, keyword = [], False
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keyword:
            found.append("*")
            keyword = True
        found.append(name if parameter.default is inspect.Parameter.empty else f"{name}={parameter.default!r}")
    return f"({', '.join(found)})"


def _summary(described: Any) -> str:
    return _plain((inspect.getdoc(described) or "").partition("\n\n")[0])


def _paragraph(method: Any, start: str, missing: str | None = None) -> str:
    """What a docstring says in the paragraph that begins so, without the beginning.

    Raises:
        ValueError: it has no such paragraph, and should.
    """
    for paragraph in (inspect.getdoc(method) or "").split("\n\n"):
        if paragraph.startswith(start):
            return _plain(paragraph.removeprefix(start))
    if missing is None:
        raise ValueError(f"the docstring of {method.__qualname__} has no paragraph that begins with {start.strip()!r}")
    return missing


def _plain(text: str) -> str:
    """Markup of docstrings as Markdown in a table's cell."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`"))
    return " ".join(text.replace("|", "\\|").split())


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


if __name__ == "__main__":
    PAGE.write_text(page())
