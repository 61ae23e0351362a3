"""Reads files with comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hal.data.columns import Table, column_of_texts
from hal.data.files import check_memory, read_bytes
from hal.data.texts import decoded
from hal.errors import DataError

__all__ = ["read_csv", "rows_of"]

_DELIMITERS = ",;\t|"
_BYTES_PER_BYTE = 20
"""What a table takes at its peak, for each byte of the file: its cells as strings, and as numbers."""


def read_csv(path: Path, skip_bad: int | None = 0) -> Table:
    """A file in UTF-8 as a table; its first line names the columns.

    Args:
        path: the file.
        skip_bad: how many lines with too few or too many cells may be left out; None: whoever reads cannot say so.

    Raises:
        NotFoundError: the file cannot be read.
        DataError: it is damaged, names a column twice, or has no rows.
    """
    content = read_bytes(path)
    check_memory(str(path), _BYTES_PER_BYTE * len(content))
    rows = rows_of(path, decoded(str(path), content))
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    if not header:
        raise DataError(f"{path} is empty", fix="use a file whose first line names the columns")
    twice = next((name for at, name in enumerate(header) if name in header[:at]), None)
    if twice is not None:
        raise DataError(
            f"{path} has two columns with the name {twice!r}",
            fix="give each column a name of its own in the first line",
        )
    cells: list[list[str]] = []
    lines: list[int] = []
    skipped: list[str] = []
    for line, row in rows:
        if len(row) == len(header):
            cells.append(row)
            lines.append(line)
            continue
        said = f"line {line:,} has {len(row)} columns, but the first line has {len(header)}"
        if len(skipped) >= (skip_bad or 0):
            way_out = "" if skip_bad is None else ". Or leave such lines out with data.skip_bad=N"
            raise DataError(
                f"{path} is damaged: {said}",
                fix=f"correct the line; a text that contains the separator must be in quotation marks{way_out}",
            )
        skipped.append(f"{path}, {said}")
    if not cells:
        raise DataError(
            f"{path} has no rows below the names of its columns", fix="add rows, and name the columns in the first line"
        )
    columns = tuple(column_of_texts(name, [row[at] for row in cells]) for at, name in enumerate(header))
    return Table(str(path), columns, np.asarray(lines), tuple(skipped))


def rows_of(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of the line at which it ends."""
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path} is damaged: line {reader.line_num:,}: {error}",
                fix="correct the line; every quoted text must end, and a quotation mark inside it must be doubled",
            ) from error
        if row is None:
            return
        if row:
            yield reader.line_num, row
