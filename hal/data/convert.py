"""Turns what a caller hands over into what a model was trained on, by stated rules, or refuses it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hal.data.spec import Columns, Wanted
from hal.errors import InputError
from hal.util.messages import first_line

__all__ = ["LARGEST_FLOAT", "as_inputs"]

LARGEST_FLOAT = float(np.finfo(np.float32).max)

_HAIR = 1e-3
"""How far beyond [0, 1] the rounding of other programs may take a pixel."""


def as_inputs(values: Any, wanted: Wanted, vocabulary: str = "", columns: Columns | None = None) -> np.ndarray:
    """Inputs of a trained model.

    Args:
        values: what NumPy can take for an array: arrays of any framework in host memory, nested lists. Images are
            (batch, height, width, channels), gray ones also (batch, height, width); sequences (batch, time, features);
            vectors (batch, features);
            text (batch, length), ids of characters; documents a list of str, or (batch, length), ids of tokens.
        wanted: the kind and shape of data that the model takes.
        vocabulary: of text.
        columns: of a table that the model learned from: values are then numbers as they stand in such a table,
            (batch, columns), and are scaled as those were.

    Returns:
        float32, or int64 for text and documents. Integers of vectors are numbers as they are. Integers of images and
        sequences are taken as 0..255, whatever their width, and divided by 255; booleans as 0 and 1; floats as they
        are, which must be in [0, 1] for images.

    Raises:
        InputError: another shape, a type that has no meaning, or values out of range.
    """
    if wanted.tokenizer is not None and (texts := _texts(values)) is not None:
        return wanted.tokenizer.encode(texts, wanted.shape[0])[0].astype(np.int64)
    try:
        if np.ma.is_masked(values):
            raise ValueError("some of its values are masked")
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the inputs cannot be converted to an array: {first_line(error)}",
            fix="pass a NumPy array, or copy it to the host first: x.cpu(), jax.device_get(x)",
        ) from error
    if columns is not None:
        return _rows_of_table(array, wanted, columns)
    if wanted.kind == "image" and wanted.shape[2] == 1 and array.shape[1:] == wanted.shape[:2]:
        array = array[..., None]
    if array.ndim == 0 or array.shape[1:] != wanted.shape:
        raise InputError(
            f"the inputs have shape {array.shape}, but the model takes (batch, {', '.join(map(str, wanted.shape))})",
            fix="resize the inputs to this shape, and keep the batch axis",
        )
    if wanted.tokenizer is not None:
        return _ids(array, wanted.tokenizer.size, "tokens", "pass a list of str, or ids as the tokenizer gives them")
    if wanted.kind == "text":
        return _ids(array, len(vocabulary), "characters", "use the ids of the run's vocabulary")
    return _numbers(array, wanted.kind)


def _rows_of_table(array: np.ndarray, wanted: Wanted, columns: Columns) -> np.ndarray:
    count = len(columns.names)
    if array.ndim < 2 or array.shape[1:] not in ((count,), wanted.shape):
        raise InputError(
            f"the inputs have shape {array.shape}, but the model takes (batch, {count}): "
            f"{', '.join(columns.names[:10])}",
            fix="pass one row of numbers for each sample, in the order of these columns",
        )
    _range(array)
    return columns.scaled(array.reshape(len(array), count).astype(np.float64)).reshape(len(array), *wanted.shape)


def _texts(values: Any) -> list[str] | None:
    """Texts as a list of str; None: these are no texts.

    Raises:
        InputError: it is a single text, or one of them is not a str.
    """
    if isinstance(values, str):
        raise InputError("the inputs are a single text, but the model takes several", fix="pass a list: [text]")
    if isinstance(values, np.ndarray) and values.dtype.kind in "UO":
        values = values.tolist()
    if not isinstance(values, list | tuple) or not any(isinstance(value, str) for value in values):
        return None
    for at, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(
                f"input {at} is of type {type(value).__name__}, but the others are texts", fix="pass a list of str"
            )
    return list(values)


def _numbers(array: np.ndarray, kind: str) -> np.ndarray:
    if array.dtype.kind == "b":
        return array.astype(np.float32)
    low, high = _range(array)
    if array.dtype.kind in "iu" and kind == "vector":
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        if low < 0 or high > 255:
            raise InputError(
                f"integer inputs range from {low:g} to {high:g}, but integers must be pixels from 0 to 255",
                fix="scale them to 0..255, or pass floats in [0, 1]",
            )
        return array.astype(np.float32) / 255
    if kind == "image" and not -_HAIR <= low <= high <= 1 + _HAIR:
        raise InputError(
            f"the inputs range from {low:g} to {high:g}, but the model was trained on images in [0, 1]",
            fix="divide pixels from 0 to 255 by 255, or pass them as integers: x.astype('uint8')",
        )
    found = np.asarray(array, np.float32)
    return np.clip(found, 0, 1) if kind == "image" and (low < 0 or high > 1) else found


def _ids(array: np.ndarray, size: int, what: str, fix: str) -> np.ndarray:
    if array.dtype.kind not in "iu":
        raise InputError(
            f"inputs of text have the type {array.dtype}, but ids of {what} must be integers", fix="pass integers"
        )
    low, high = _range(array)
    if low < 0 or high >= size:
        raise InputError(
            f"ids of {what} range from {low:g} to {high:g}, but the ids of this model range from 0 to {size - 1}",
            fix=fix,
        )
    return array.astype(np.int64)


def _range(array: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest value; refuses what is not a finite real number."""
    try:
        if array.dtype.kind not in "iu":
            array = array.astype(np.float64 if array.dtype.itemsize > 4 else np.float32, casting="same_kind")
    except TypeError as error:
        raise InputError(
            f"the inputs have the type {array.dtype}, which no model takes", fix="pass integers or floats"
        ) from (error)
    if array.size == 0:
        return 0.0, 0.0
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)) or max(-low, high) > LARGEST_FLOAT:
        raise InputError("the inputs contain values that are not finite in float32", fix="remove those samples")
    return low, high
