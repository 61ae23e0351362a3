"""Reads the code cells of a notebook; outputs are not read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

__all__ = ["Cell", "NotebookError", "code_cells"]

_MAGIC = re.compile(r"^\s*[%!?]")
_LINE_MAGIC = re.compile(r"^(\s*)(?:[\w, ]+=\s*)?[%!?].*")
_CELL_MAGIC = re.compile(r"^\s*%%(\w+)")


class NotebookError(Exception):
    """The text is no notebook."""


@dataclass(frozen=True)
class Cell:
    """A code cell.

    Attributes:
        number: from 1, among the code cells.
        python: its code, with ``pass`` in place of lines for the shell, or empty.
        shell: the lines for the shell in place, and empty lines for the others.
        source: as it is written.
    """

    number: int
    python: str
    shell: str
    source: str


def code_cells(text: str) -> list[Cell]:
    """The code cells of a notebook.

    Raises:
        NotebookError: it is no notebook.
    """
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotebookError("it is not valid JSON") from error
    cells = held.get("cells") if isinstance(held, dict) else None
    if not isinstance(cells, list):
        raise NotebookError("it has no list of cells")
    found: list[Cell] = []
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        found.append(_cell(len(found) + 1, source))
    return found


def _cell(number: int, source: str) -> Cell:
    lines = source.split("\n")
    if (magic := _CELL_MAGIC.match(lines[0])) is not None:
        if magic[1] in ("bash", "sh", "script", "shell"):
            return Cell(number, "", "\n".join(["", *lines[1:]]), source)
        if magic[1] not in ("time", "timeit", "capture", "prun"):
            return Cell(number, "", "", source)
        lines[0] = ""
    python = "\n".join(_LINE_MAGIC.sub(r"\1pass", line) if _LINE_MAGIC.match(line) else line for line in lines)
    shell = "\n".join(line.lstrip(" !%") if _MAGIC.match(line) else "" for line in lines)
    return Cell(number, python, shell, source)
