"""Turns what a caller hands over into what a model was trained on, by stated rules, or refuses it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from hal.data.images import check_channels, fit, image_shape
from hal.data.spec import Columns, Wanted
from hal.errors import ConfigError, InputError
from hal.util.messages import first_line

__all__ = ["LARGEST_FLOAT", "as_array", "as_inputs", "check_range"]

LARGEST_FLOAT = float(np.finfo(np.float32).max)

_HAIR = 1e-3
"""How far beyond [0, 1] the rounding of other programs may take a pixel."""


def as_inputs(
    values: Any,
    wanted: Wanted,
    vocabulary: str = "",
    columns: Columns | None = None,
    value_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """Inputs of a trained model.

    Args:
        values: what :func:`as_array` takes. Images are (batch, height, width, channels), gray ones also
            (batch, height, width), of any height and width; sequences (batch, time, features); vectors
            (batch, features); text (batch, length), ids of characters; documents a list of str, or (batch, length), ids
            of tokens.
        wanted: the kind and shape of data that the model takes.
        vocabulary: of text.
        columns: of a table that the model learned from: values are then numbers as they stand in such a table,
            (batch, columns), and are scaled as those were.
        value_range: the smallest and the largest number in the sequences that the model was trained on; None: unknown.

    Returns:
        float32, or int64 for text and documents. Integers of vectors are numbers as they are. Integers of images and
        sequences are taken as 0..255, whatever their width, and divided by 255; booleans as 0 and 1; floats as they
        are. Images are then resized, and made gray or given equal channels, as images in arrays are for training.

    Raises:
        InputError: another shape, a type that has no meaning, or values that contradict what the model was trained on:
            images outside [0, 1], or sequences further outside ``value_range`` than it is wide.
    """
    if wanted.tokenizer is not None and (texts := _texts(values)) is not None:
        return wanted.tokenizer.encode(texts, wanted.shape[0])[0].astype(np.int64)
    array = as_array(values)
    if columns is not None:
        return _rows_of_table(array, wanted, columns)
    if wanted.kind == "image":
        return _images(array, wanted)
    if array.ndim == 0 or array.shape[1:] != wanted.shape:
        raise InputError(
            f"the inputs have shape {array.shape}, but the model takes (batch, {', '.join(map(str, wanted.shape))})",
            fix="resize the inputs to this shape, and keep the batch axis",
        )
    if wanted.tokenizer is not None:
        return _ids(array, wanted.tokenizer.size, "tokens", "pass a list of str, or ids as the tokenizer gives them")
    if wanted.kind == "text":
        return _ids(array, len(vocabulary), "characters", "use the ids of the run's vocabulary")
    found = _numbers(array, wanted.kind)
    if value_range is not None:
        check_range(found, array.dtype, value_range)
    return found


def as_array(values: Any) -> np.ndarray:
    """What somebody hands over as a NumPy array.

    Args:
        values: an array of NumPy, PyTorch or JAX on any device, any other object that NumPy takes, or nested lists.

    Raises:
        InputError: it cannot be converted.
    """
    # Whoever has a tensor has loaded PyTorch, whose tensors NumPy takes only from host memory and without gradients.
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype.is_floating_point and values.dtype != torch.float64 else values
    try:
        if np.ma.is_masked(values):
            raise ValueError("some of its values are masked")
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the inputs cannot be converted to an array: {first_line(error)}",
            fix="pass a NumPy array, or copy it to the host first: x.cpu(), jax.device_get(x)",
        ) from error


def _images(array: np.ndarray, wanted: Wanted) -> np.ndarray:
    shape = image_shape(wanted)
    # An axis of up to 4 at the end is one of channels: a single image, whose batch axis is missing.
    gray = array.ndim == 3 and (array.shape[2] > 4 or array.shape[1:] == shape[:2])
    images = array[..., None] if gray else array
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(
            f"the inputs have shape {array.shape}, but the model takes (batch, {', '.join(map(str, wanted.shape))})",
            fix="pass images as (batch, height, width, channels) of any height and width, and keep the batch axis",
        )
    try:
        check_channels("inputs", images.shape[3], wanted)
    except ConfigError as error:
        raise InputError(
            f"the inputs have shape {array.shape}, which are images of {images.shape[3]} channels, but the model takes "
            f"(batch, {', '.join(map(str, wanted.shape))})",
            fix="pass images as (batch, height, width, channels): gray ones, or RGB",
        ) from error
    return fit(_numbers(images, "image"), shape)


def check_range(found: np.ndarray, dtype: np.dtype[Any], value_range: tuple[float, float]) -> None:
    """Refuse numbers that are on another scale than those of the training.

    Args:
        found: as the model would get them.
        dtype: in which they were handed over.
        value_range: the smallest and the largest number that the model was trained on.

    Raises:
        InputError: they lie further outside the range than it is wide, or are integers where it is not that of pixels.
    """
    low, high = value_range
    width = max(high - low, 1e-6)
    trained = f"the model was trained on numbers from {low:g} to {high:g}"
    if dtype.kind in "iu" and not -_HAIR <= low <= high <= 1 + _HAIR:
        raise InputError(
            f"the inputs are integers, which are taken as pixels from 0 to 255 and become [0, 1], but {trained}",
            fix="pass floats on the scale of the training data: x.astype('float32')",
        )
    if found.size and (float(found.min()) < low - width or float(found.max()) > high + width):
        raise InputError(
            f"the inputs range from {float(found.min()):g} to {float(found.max()):g}, but {trained}",
            fix="scale the inputs as the training data were",
        )


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
    if array.dtype.kind in "iu" and array.dtype != np.uint8 and high == 1 and low >= 0:
        raise InputError(
            f"the inputs are {array.dtype} and all of them 0 or 1, but integers are taken as pixels from 0 to 255",
            fix="pass booleans or floats where 1 is the largest value: x.astype('float32')",
        )
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
