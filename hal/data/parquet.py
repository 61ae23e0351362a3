"""Tables in Parquet files, read by pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hal.data.columns import Column, Table, column_of_numbers, column_of_texts
from hal.data.files import check_memory, unreadable, user_path
from hal.data.spec import Split, Wanted
from hal.data.targets import TaskKey
from hal.data.vectors import split_table
from hal.errors import DataError, UnavailableError
from hal.util.messages import first_line

__all__ = ["open_parquet", "read_parquet"]

_BYTES_PER_CELL = 48


def open_parquet(
    source: str,
    argument: str,
    wanted: Wanted,
    share: float,
    seed: int,
    *,
    label: str | None = None,
    features: str | None = None,
    task: TaskKey = "auto",
    skip_bad: int = 0,
) -> Split:
    """The rows of a Parquet file, as those of a CSV file."""
    table = read_parquet(user_path(argument))
    return split_table(
        source, table, wanted, share=share, seed=seed, label=label, features=features, task=task, skip_bad=skip_bad
    )


def read_parquet(path: Path) -> Table:
    """A Parquet file as a table; columns of lists, dates and the like count as text.

    Raises:
        UnavailableError: pyarrow is not installed.
        NotFoundError: the file cannot be read.
        DataError: it is damaged, or has no rows.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UnavailableError(
            f"data=parquet:{path} needs the package pyarrow, which is not installed",
            fix="pip install 'hal-tensor[parquet]'",
        ) from error
    try:
        with path.open("rb") as opened:
            file = parquet.ParquetFile(opened)
            about = file.metadata
            check_memory(str(path), about.num_rows * about.num_columns * _BYTES_PER_CELL)
            found = file.read()
    except ArrowException as error:
        raise DataError(
            f"{path} is not a Parquet file that can be read: {first_line(error)}", fix="replace the file"
        ) from error
    except OSError as error:
        if error.errno is None:  # what pyarrow itself raises for a damaged page
            raise DataError(f"{path} is damaged: {first_line(error)}", fix="replace the file") from error
        raise unreadable(path, error) from error
    if not found.num_rows or not found.num_columns:
        raise DataError(
            f"{path} has {found.num_rows} rows and {found.num_columns} columns", fix="use a table with rows"
        )
    columns = tuple(_column(name, found.column(at)) for at, name in enumerate(found.column_names))
    return Table(str(path), columns, np.arange(1, found.num_rows + 1))


def _column(name: str, values: Any) -> Column:
    from pyarrow import types

    kind = values.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return column_of_texts(name, ["" if value is None else str(value) for value in values.to_pylist()])
    absent = np.asarray(values.is_null())
    numbers = np.asarray(values.fill_null(False if types.is_boolean(kind) else 0).to_numpy()).astype(np.float64)
    return column_of_numbers(name, numbers, absent | np.isnan(numbers))  # tables use NaN for a missing value
