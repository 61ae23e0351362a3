"""Rows of a table as vectors or sequences of numbers, with labels from other columns."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hal.data.arrays import ArrayDataset, shuffled_split
from hal.data.columns import Column, Table
from hal.data.convert import LARGEST_FLOAT
from hal.data.spec import Columns, Split, Wanted
from hal.data.targets import Targets, TaskKey, check_tags, scales_of
from hal.errors import ConfigError, DataError

__all__ = ["listed", "ordered_names", "split_table", "vectors_for"]

_LABEL = "label class category target y outcome species diagnosis labels classes"
"""Names of columns that hold the label unless the user says otherwise; of several, the first of these."""

_SHOWN = 20
_NAMED = 10
_MOST_WHOLE = 50
"""Whole numbers with more different values than this are taken for numbers, not for classes."""


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + more


def ordered_names(names: set[str]) -> list[str]:
    """Whole numbers by their values, other names by the alphabet."""
    if all(name.isascii() and name.removeprefix("-").isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def split_table(
    source: str,
    table: Table,
    wanted: Wanted,
    *,
    share: float,
    seed: int,
    label: str | None,
    features: str | None,
    task: TaskKey,
    skip_bad: int,
) -> Split:
    """Data sets of the rows of a table.

    Args:
        source: as the user wrote it.
        table: the rows.
        wanted: a vector, or a sequence whose steps and features are as many as there are columns.
        share: to hold back, in (0, 1).
        seed: decides which rows those are.
        label: names of the columns to learn, separated by commas; None: one with a usual name.
        features: names of the columns to learn from; None: all others that hold numbers.
        task: what the labels are.
        skip_bad: how many rows with a cell that is no number may be left out, with those that the table lacks already.

    Raises:
        ConfigError: a column is not there, or the number of columns is not what the model takes.
        DataError: there are no rows, or a cell is no number.
    """
    notes: list[str] = []
    of_labels = _label_columns(table, label)
    used = _feature_columns(table, of_labels, features, notes)
    table, skipped = _without_bad_rows(table, used, of_labels, task, skip_bad)
    used, of_labels = [table.column(c.name) for c in used], [table.column(c.name) for c in of_labels]
    complete = _complete_rows(table, used, of_labels, notes)
    targets = _targets(table, of_labels, task, notes).rows(complete)
    if targets.task == "classify":
        targets = _without_gaps(targets)
    values = np.stack([column.numbers for column in used], axis=1)[complete]
    if (largest := float(np.abs(values).max(initial=0.0))) > LARGEST_FLOAT:
        raise DataError(f"{table.where} contains {largest:g}, which is too large for float32", fix="scale the values")
    shape = _shape(source, wanted, used)
    parts = shuffled_split(source, targets.stratum, len(values), share, seed)
    columns = scales_of([column.name for column in used], values[parts[0]])
    scaled = columns.scaled(values).reshape(len(values), *shape)
    target_columns = None
    labels = targets.values
    if targets.task == "regress":
        target_columns = scales_of(targets.names, targets.values[parts[0]])
        labels = target_columns.scaled(targets.values)
    train, held = (
        ArrayDataset(
            source,
            scaled,
            labels,
            replace(wanted, shape=shape),
            classes=None if targets.task == "regress" else len(targets.names),
            class_names=() if targets.task == "regress" else targets.names,
            rows=rows,
            task=targets.task,
            columns=columns,
            targets=target_columns,
        )
        for rows in parts
    )
    notes.insert(
        0, f"columns: {listed([c.name for c in used])} (features) and {listed([c.name for c in of_labels])} (label)"
    )
    return Split(train, held, tuple(notes), skipped=skipped)


def vectors_for(table: Table, columns: Columns) -> np.ndarray:
    """The rows of a table as the inputs of a model that learned from columns of the same names.

    Args:
        table: new rows; further columns are allowed.
        columns: of the run's data.

    Returns:
        float64 (rows, columns), as :func:`hal.data.convert.as_inputs` takes them: not scaled.

    Raises:
        DataError: a column is not there, or a cell is missing or no number.
    """
    missing = [name for name in columns.names if name not in table.names]
    if missing:
        raise DataError(
            f"{table.where} has no column {missing[0]}, which the model learned from",
            fix=f"give a table with the columns {listed(columns.names)}",
        )
    used = [table.column(name) for name in columns.names]
    for column in used:
        for row in np.flatnonzero(~np.isfinite(column.numbers))[:1]:
            found = "no value" if column.missing[row] else f"{column.cell(row)!r}, which is not a finite number"
            raise DataError(
                f"{table.where}, line {table.lines[row]:,}: the column {column.name} holds {found}",
                fix="correct or remove the line",
            )
    return np.stack([column.numbers for column in used], axis=1)


def _named(table: Table, key: str, names: str) -> list[Column]:
    """Columns by their names, which may be separated by commas."""
    found = []
    for name in [names] if names in table.names else [part.strip() for part in names.split(",")]:
        if name not in table.names:
            near = difflib.get_close_matches(name, table.names, n=1)
            raise ConfigError(
                f"{table.where} has no column {name}" + (f"; did you mean {near[0]}?" if near else ""),
                fix=f"write data.{key}=COLUMN with one of its columns: {listed(table.names)}",
            )
        found.append(table.column(name))
    return found


def _label_columns(table: Table, label: str | None) -> list[Column]:
    if label is not None:
        return _named(table, "label", label)
    plain = [name.lower() for name in table.names]
    for usual in _LABEL.split():
        if usual in plain:
            return [table.columns[plain.index(usual)]]
    raise ConfigError(
        f"{table.where} has no column that is known to hold the label",
        fix=f"write data.label=COLUMN with one of its columns: {listed(table.names)}",
    )


def _feature_columns(table: Table, of_labels: Sequence[Column], features: str | None, notes: list[str]) -> list[Column]:
    taken = {column.name for column in of_labels}
    if features is not None:
        found = _named(table, "features", features)
        for column in found:
            if column.name in taken:
                raise ConfigError(
                    f"the column {column.name} of {table.where} cannot be both a feature and the label",
                    fix="leave it out of data.features= or of data.label=",
                )
            if column.is_text:
                raise DataError(
                    f"the column {column.name} of {table.where} holds no numbers, for example {_example(column)!r}",
                    fix="leave it out of data.features=, or store a number for each of its values",
                )
        return found
    others = [column for column in table.columns if column.name not in taken]
    found = [column for column in others if not column.is_text]
    if not found:
        raise DataError(
            f"{table.where} has no column of numbers beside {listed([c.name for c in of_labels])}",
            fix="store the features as numbers, in columns of their own",
        )
    texts = [column.name for column in others if column.is_text]
    if texts:
        which = "the column" if len(texts) == 1 else "the columns"
        notes.append(f"left out: {which} {listed(texts)}, which hold{'s' * (len(texts) == 1)} no numbers")
    return found


def _example(column: Column) -> str:
    rows = np.flatnonzero(column.wrong)
    return column.cell(int(rows[0])) if len(rows) else ""


def _without_bad_rows(
    table: Table, used: Sequence[Column], of_labels: Sequence[Column], task: TaskKey, skip_bad: int
) -> tuple[Table, tuple[str, ...]]:
    """The table without rows in which a number is none; refuses more of them than may be left out."""
    as_numbers = task in ("regress", "tags") or len(of_labels) > 1
    numeric = [*used, *(column for column in of_labels if as_numbers and not column.is_text)]
    bad: dict[int, str] = {}
    for column in numeric:
        for row in np.flatnonzero(column.wrong):
            bad.setdefault(
                int(row),
                f"line {table.lines[row]:,}: the column {column.name} holds {column.cell(int(row))[:80]!r}, which is "
                "not a finite number",
            )
    skipped = (*table.skipped, *(f"{table.where}, {bad[row]}" for row in sorted(bad)))
    if bad and len(skipped) > skip_bad:
        first = bad[min(bad)]
        more = f" ({len(bad):,} such lines)" if len(bad) > 1 else ""
        raise DataError(
            f"{table.where}, {first}{more}",
            fix=f"correct the line, or leave such lines out with data.skip_bad={len(skipped)}",
        )
    if not bad:
        return table, skipped
    keep = np.setdiff1d(np.arange(len(table)), sorted(bad))
    columns = tuple(
        Column(c.name, c.texts and [str(c.texts[int(row)]) for row in keep], c.numbers[keep], c.missing[keep])
        for c in table.columns
    )
    return Table(table.where, columns, table.lines[keep]), skipped


def _complete_rows(table: Table, used: Sequence[Column], of_labels: Sequence[Column], notes: list[str]) -> np.ndarray:
    """The rows in which nothing is missing."""
    gaps = np.stack([column.missing for column in (*used, *of_labels)], axis=1)
    complete = np.flatnonzero(~gaps.any(axis=1))
    lost = len(table) - len(complete)
    if lost * 2 > len(table) or (len(table) and not len(complete)):
        counts = gaps.sum(axis=0)
        worst = (*used, *of_labels)[int(counts.argmax())].name
        raise DataError(
            f"{lost:,} of {len(table):,} lines of {table.where} have no value in some column; most often in {worst}, "
            f"{int(counts.max()):,} times",
            fix="fill the gaps, or name the columns to learn from without it: data.features=A,B,...",
        )
    if lost:
        lines = "1 line" if lost == 1 else f"{lost:,} lines"
        notes.append(f"left out: {lines} without a value in some column")
    return complete


def _targets(table: Table, columns: Sequence[Column], task: TaskKey, notes: list[str]) -> Targets:
    where = f"the column {columns[0].name} of {table.where}"
    numbers = np.stack([np.nan_to_num(column.numbers) for column in columns], axis=1)
    names = tuple(column.name for column in columns)
    texts = [column.name for column in columns if column.is_text]
    if texts and (task in ("regress", "tags") or len(columns) > 1):
        raise DataError(
            f"the column {texts[0]} of {table.where} holds no numbers, so it cannot be one of several labels, a number "
            "or a tag",
            fix="name one column of classes with data.label=, or columns of numbers",
        )
    there = [column.numbers[~column.missing] for column in columns]
    zero_one = all(np.isin(values, (0, 1)).all() for values in there)
    if task == "tags" or (task == "auto" and len(columns) > 1 and zero_one):
        check_tags(where, numbers)
        return Targets("tags", numbers, names)
    if task == "regress" or (task == "auto" and (len(columns) > 1 or _looks_continuous(columns[0]))):
        if task == "auto":
            notes.append(f"{listed(names)}: predicted as numbers; data.task=classify takes the values for classes")
        return Targets("regress", numbers, names)
    if len(columns) > 1:
        raise ConfigError(
            f"data.task=classify learns one column, but data.label= names {len(columns)}",
            fix="name one column, or use data.task=tags for columns of 0 and 1",
        )
    found = _classes(table, columns[0])
    if task == "auto" and not columns[0].is_text and len(found.names) > 2:
        notes.append(f"{names[0]}: its {len(found.names)} values are classes; data.task=regress predicts a number")
    return found


def _looks_continuous(column: Column) -> bool:
    if column.is_text:
        return False
    values = np.unique(column.numbers[np.isfinite(column.numbers)])
    return bool((values != np.round(values)).any()) or len(values) > _MOST_WHOLE


def _classes(table: Table, column: Column) -> Targets:
    """The values of a column as classes by name."""
    if column.texts is not None:
        cells = list(column.texts)
    else:
        cells = [
            f"{number:.0f}" if number == round(number) else f"{number:g}" for number in np.nan_to_num(column.numbers)
        ]
    there = [cell for cell, gone in zip(cells, column.missing, strict=True) if not gone]
    names = ordered_names(set(there))
    if len(names) > len(there) // 2 and len(there) > _SHOWN:
        raise DataError(
            f"the column {column.name} of {table.where} has {len(names):,} different values in {len(there):,} lines, "
            "so it holds no classes",
            fix=f"name the column of the classes with data.label=; the columns are: {listed(table.names)}",
        )
    numbers = {name: at for at, name in enumerate(names)}
    return Targets("classify", np.asarray([numbers.get(cell, 0) for cell in cells], np.int64), tuple(names))


def _without_gaps(targets: Targets) -> Targets:
    """Classes that still have a sample once incomplete rows are left out."""
    present = np.unique(targets.values)
    names = tuple(targets.names[at] for at in present)
    return Targets("classify", np.searchsorted(present, targets.values), names)


def _shape(source: str, wanted: Wanted, used: Sequence[Column]) -> tuple[int, ...]:
    """The shape of one sample."""
    if wanted.kind == "vector":
        if wanted.shape[0] not in (0, len(used)):
            raise ConfigError(
                f"data={source} has {len(used)} columns of numbers, but the model takes {wanted.shape[0]}",
                fix="name the columns to learn from with data.features=A,B,...",
            )
        return (len(used),)
    steps, features = wanted.shape
    steps, features = steps or len(used) // max(features, 1), features or len(used) // max(steps, 1)
    if steps * features != len(used):
        raise ConfigError(
            f"data={source} has {len(used)} columns of numbers, but the model takes sequences of {steps} steps with "
            f"{features} features, which are {steps * features} numbers",
            fix="set model.steps= and model.features= so that their product is the number of columns, one step after "
            "the other, or use model=mlp",
        )
    return steps, features
