"""Columns of a table: what is a number, what is missing, and what is neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Column", "Table", "column_of_numbers", "column_of_texts"]

_MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a"])
"""What stands in a cell without a value; in small letters."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: from the first line of the file.
        texts: the cells as they were written; None: they were numbers in the file.
        numbers: float64 (rows,); NaN where the cell is missing or no number.
        missing: bool (rows,); where the cell has no value.
    """

    name: str
    texts: Sequence[str] | None
    numbers: np.ndarray
    missing: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Where the cell has a value that is no finite number, bool (rows,)."""
        found: np.ndarray = ~self.missing & ~np.isfinite(self.numbers)
        return found

    @property
    def is_text(self) -> bool:
        """Whether most of the values are no numbers; a column without values counts as text."""
        there = int((~self.missing).sum())
        return int(self.wrong.sum()) * 2 > there or there == 0

    def cell(self, row: int) -> str:
        """A cell as people know it."""
        return self.texts[row] if self.texts is not None else f"{self.numbers[row]:g}"


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Attributes:
        where: names it in an error.
        columns: in the order of the file.
        lines: the line of each row in the file, integers (rows,); where a file has no lines, the number of the row.
        skipped: what was left out while it was read, one line each.
    """

    where: str
    columns: tuple[Column, ...]
    lines: np.ndarray
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [column.name for column in self.columns]

    def column(self, name: str) -> Column:
        """The column of a name, which is there."""
        return self.columns[self.names.index(name)]


def column_of_texts(name: str, cells: Sequence[str]) -> Column:
    """A column of what stands in a text file."""
    stripped = [cell.strip() for cell in cells]
    missing = np.fromiter((cell.lower() in _MISSING for cell in stripped), bool, len(stripped))
    numbers = np.full(len(stripped), np.nan)
    for row, cell in enumerate(stripped):
        if not missing[row]:
            numbers[row] = _number(cell)
    return Column(name, stripped, numbers, missing)


def _number(cell: str) -> float:
    """A number as files write it; NaN for anything else, such as ``1_000``, which Python would take."""
    if "_" in cell:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def column_of_numbers(name: str, numbers: np.ndarray, missing: np.ndarray) -> Column:
    """A column that the file stores as numbers."""
    return Column(name, None, np.where(missing, np.nan, numbers.astype(np.float64)), missing)
