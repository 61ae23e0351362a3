"""The handwritten digits that come with scikit-learn: 1797 gray images of 8 by 8 pixels."""

from __future__ import annotations

import functools
import gzip
import importlib.util
from pathlib import Path

import numpy as np

from hal.data.arrays import split_arrays
from hal.data.spec import Split, Wanted
from hal.errors import ConfigError

__all__ = ["open_digits"]


_FILE = "datasets/data/digits.csv.gz"


def _table() -> np.ndarray:
    """The table of scikit-learn's file: 64 pixels from 0 to 16 and the digit in each row.

    The file itself is read, because importing scikit-learn takes more than a second, most of what a first run takes to
    begin. Where a version of scikit-learn keeps it elsewhere, its own function finds it.
    """
    found = importlib.util.find_spec("sklearn")
    path = Path(found.origin).parent / _FILE if found is not None and found.origin else None
    if path is not None and path.is_file():
        with gzip.open(path, "rt", encoding="ascii") as rows:
            return np.loadtxt(rows, delimiter=",", dtype=np.int64)
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    return np.column_stack([pixels, target]).astype(np.int64)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    table = _table()
    values = (table[:, :-1] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    labels = table[:, -1].copy()
    for array in (values, labels):
        array.setflags(write=False)
    return values, labels


def open_digits(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """Digits as images of the wanted shape, as sequences (one row of pixels a step, from the top) or as vectors."""
    values, labels = _digits()
    if wanted.kind == "vector":
        values = values.reshape(len(values), -1)
        if wanted.shape[0] not in (0, values.shape[1]):
            raise ConfigError(
                f"data={source} gives vectors of {values.shape[1]} numbers, but the model takes {wanted.shape[0]}",
                fix="let the model take vectors of any size",
            )
    names = [str(digit) for digit in range(10)]
    return split_arrays(source, values, labels, wanted, share=share, seed=seed, classes=10, class_names=names)
