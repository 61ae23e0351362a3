"""Files with comma-separated values: texts and their classes, or numbers and what they predict."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hal.data.csv_rows import read_csv, rows_of
from hal.data.documents import BYTES_PER_CHARACTER, Texts, split_documents
from hal.data.files import check_memory, read_bytes, user_path
from hal.data.spec import Split, Wanted
from hal.data.targets import TaskKey
from hal.data.texts import decoded
from hal.data.vectors import listed, ordered_names, split_table
from hal.errors import ConfigError, DataError

__all__ = ["check_keys", "open_csv", "read_texts"]

_TEXT = "text sentence review content message document body comment title description question utterance headline"
_LABEL = "label class category target sentiment topic intent genre tag y labels classes"
"""Names of columns that are used unless the user says otherwise; of several that are there, the first of these."""

_SHOWN = 20
_MOST_CLASSES = 10_000


def open_csv(
    source: str,
    argument: str,
    wanted: Wanted,
    share: float,
    seed: int,
    *,
    text: str | None = None,
    label: str | None = None,
    features: str | None = None,
    task: TaskKey = "auto",
    skip_bad: int = 0,
) -> Split:
    """Columns of a file in UTF-8 whose first line names them: a text and a class, or numbers and what they predict.

    Values are separated by commas, semicolons, tabs or vertical bars, as the first line shows, and quoted as RFC 4180
    says.
    """
    check_keys(wanted, text=text, features=features, task=task, skip_bad=skip_bad)
    path = user_path(argument)
    if wanted.kind != "document":
        table = read_csv(path, skip_bad)
        return split_table(
            source, table, wanted, share=share, seed=seed, label=label, features=features, task=task, skip_bad=skip_bad
        )
    return _documents(source, path, wanted, share, seed, text, label)


def check_keys(wanted: Wanted, *, text: str | None, features: str | None, task: TaskKey, skip_bad: int) -> None:
    """Refuse keys of the data that do not apply to what the model takes.

    Raises:
        ConfigError: one is for texts, or for columns of numbers, and the model takes something else.
    """
    if text is not None and wanted.kind != "document":
        raise ConfigError("data.text= is for models that read texts", fix="leave it out, or use a model of texts")
    if wanted.kind not in ("document", "image"):
        return
    takes = "reads texts" if wanted.kind == "document" else "takes images"
    for key, value in {"features": features, "skip_bad": skip_bad or None}.items():
        if value is not None:
            raise ConfigError(f"data.{key}= is for columns of numbers, but the model {takes}", fix="leave it out")
    if task not in ("auto", "classify"):
        raise ConfigError(f"data.task={task} is for columns of numbers, but the model {takes}", fix="leave it out")


def _documents(
    source: str, path: Path, wanted: Wanted, share: float, seed: int, text: str | None, label: str | None
) -> Split:
    content = read_bytes(path)
    check_memory(str(path), BYTES_PER_CHARACTER * len(content))
    rows = rows_of(path, decoded(str(path), content))
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    at = _columns(path, header, text, label)
    values, labels, left_out = [], [], 0
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path} is damaged: line {line:,} has {len(row)} columns, but the first line has {len(header)}",
                fix="correct the line; a text that contains the separator must be in quotation marks",
            )
        value, name = row[at[0]], row[at[1]].strip()
        if value.strip() and name:
            values.append(value)
            labels.append(name)
        else:
            left_out += 1
    if not values:
        raise DataError(
            f"{path} has no line with both a {header[at[0]]} and a {header[at[1]]}",
            fix="name the columns with data.text= and data.label=",
        )
    names = ordered_names(set(labels))
    if len(names) > _MOST_CLASSES or (len(names) > len(labels) // 2 and len(labels) > _SHOWN):
        raise DataError(
            f"the column {header[at[1]]} of {path} has {len(names):,} different values in {len(labels):,} lines, so it "
            "holds no classes",
            fix=f"name the column of the classes with data.label=; the columns are: {listed(header)}",
        )
    numbers = {name: number for number, name in enumerate(names)}
    found = Texts(values, np.asarray([numbers[name] for name in labels], np.int64))
    notes = [f"columns: {header[at[0]]} (text) and {header[at[1]]} (label) of {listed(header)}"]
    if left_out:
        lines = "1 line" if left_out == 1 else f"{left_out:,} lines"
        notes.append(f"left out: {lines} without a text or without a label")
    return split_documents(source, found, None, names, wanted, share=share, seed=seed, notes=notes)


def read_texts(path: Path, text: str | None = None) -> list[str]:
    """The texts in a column of a file, for a model that puts them into classes; empty ones too.

    Args:
        path: of a file in UTF-8 whose first line names the columns.
        text: name of the column; None: one with a usual name, or the only one.

    Raises:
        NotFoundError: the file cannot be read.
        DataError: it is damaged.
        ConfigError: it has no such column.
    """
    content = read_bytes(path)
    check_memory(str(path), BYTES_PER_CHARACTER * len(content))
    rows = rows_of(path, decoded(str(path), content))
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    at = _place(path, header, "column", text, _TEXT.split())
    if at is None and len(header) == 1:
        at = 0
    if at is None:
        raise ConfigError(
            f"{path} has no column that is known to hold the text",
            fix=f"write column=COLUMN with one of its columns: {listed(header)}",
        )
    found = []
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path} is damaged: line {line:,} has {len(row)} columns, but the first line has {len(header)}",
                fix="correct the line; a text that contains the separator must be in quotation marks",
            )
        found.append(row[at])
    return found


def _columns(path: Path, header: Sequence[str], text: str | None, label: str | None) -> tuple[int, int]:
    """The places of both columns."""
    if len(header) < 2:
        raise DataError(
            f"{path} has {'one column' if header else 'no columns'}, but a text and a label are needed",
            fix="use a file whose first line names the columns, separated by commas, semicolons or tabs",
        )
    places = [
        _place(path, header, "data.text", text, _TEXT.split()),
        _place(path, header, "data.label", label, _LABEL.split()),
    ]
    for which in (0, 1):
        if places[which] is None and places[1 - which] is not None and len(header) == 2:
            places[which] = 1 - (places[1 - which] or 0)
    for key, place in zip(("text", "label"), places, strict=True):
        if place is None:
            raise ConfigError(
                f"{path} has no column that is known to hold the {key}",
                fix=f"write data.{key}=COLUMN with one of its columns: {listed(header)}",
            )
    first, second = places
    assert first is not None
    assert second is not None
    if first == second:
        raise ConfigError(
            f"the column {header[first]} of {path} cannot be both the text and the label",
            fix=f"name two columns with data.text= and data.label=: {listed(header)}",
        )
    return first, second


def _place(path: Path, header: Sequence[str], key: str, given: str | None, usual: Sequence[str]) -> int | None:
    """Where a column is; None: none was named, and none has a usual name."""
    if given is None:
        plain = [name.lower() for name in header]
        return next((plain.index(name) for name in usual if name in plain), None)
    if given in header:
        return header.index(given)
    near = difflib.get_close_matches(given, header, n=1)
    raise ConfigError(
        f"{path} has no column {given}" + (f"; did you mean {near[0]}?" if near else ""),
        fix=f"write {key}=COLUMN with one of its columns: {listed(header)}",
    )
