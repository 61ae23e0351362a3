"""The handwritten digits that come with scikit-learn: 1797 gray images of 8 by 8 pixels."""

from __future__ import annotations

import functools

import numpy as np

from hal.data.arrays import split_arrays
from hal.data.spec import Split, Wanted
from hal.errors import ConfigError

__all__ = ["open_digits"]


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    values = (np.asarray(pixels) / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    labels = np.asarray(target).astype(np.int64)
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
