"""Samples from the arrays of a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from hal.data.arrays import ArrayDataset, check_labels, split_arrays
from hal.data.files import unreadable, user_path
from hal.data.spec import Split, Wanted
from hal.errors import ConfigError, DataError

__all__ = ["open_npz"]

_TRAIN = (("x_train", "y_train"), ("x", "y"), ("inputs", "labels"))
_TEST = ("x_test", "y_test")
_ZIP, _NPY = b"PK", b"\x93NUM"
_FIX = "write it with numpy.savez: x and y, inputs and labels, or x_train, y_train, x_test and y_test"


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            if file.read(len(_NPY)) not in (_ZIP + b"\x03\x04", _ZIP + b"\x05\x06", _NPY):
                raise DataError(f"{path} is not an archive of NumPy arrays: its first bytes are wrong", fix=_FIX)
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds one array, not an archive of arrays", fix=_FIX)
            names = {name for pair in (*_TRAIN, _TEST) for name in pair} & set(archive.files)
            with archive:
                found = {name: archive[name] for name in sorted(names)}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, RuntimeError) as error:
        # ValueError is also what NumPy says of pickled objects, which are never loaded; RuntimeError: encrypted.
        raise DataError(f"{path} is not an archive of plain arrays: {error}", fix=_FIX) from error
    except OSError as error:
        raise unreadable(path, error) from error
    for name, value in found.items():
        if not isinstance(value, np.ndarray):  # a member of the archive that is no array comes as bytes
            raise DataError(f"{path} has a member {name} that is not an array", fix=_FIX)
    return found


def _check_inputs(path: Path, name: str, values: np.ndarray, wanted: Wanted) -> np.ndarray:
    if wanted.kind == "image" and values.ndim == 3:
        values = values[..., None]
    axes = len(wanted.shape) + 1
    if values.ndim != axes or 0 in values.shape:
        raise DataError(
            f"{name} in {path} has shape {values.shape}; the model wants {wanted.kind} data of (count, "
            f"{', '.join('any' if wanted.kind == 'image' else str(size) for size in wanted.shape)}), with no axis of 0",
            fix="store images as (count, height, width, channels), sequences as (count, time, features)",
        )
    if wanted.kind == "sequence" and values.shape[1:] != wanted.shape:
        raise ConfigError(
            f"{name} in {path} has sequences of (time, features) {values.shape[1:]}; the model takes {wanted.shape}",
            fix="give the model these numbers of steps and features, or store other sequences",
        )
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise DataError(
            f"{name} in {path} has dtype {values.dtype}; expected uint8 or floating", fix="convert the array"
        )
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{name} in {path} has values that are not finite", fix="remove those samples")
    if wanted.kind == "image" and not 0 <= low <= high <= 1:
        raise DataError(
            f"{name} in {path} has images with values from {low:g} to {high:g}; expected 0 to 1",
            fix="scale them to [0, 1], or store them as uint8 from 0 to 255",
        )
    return values.astype(np.float32, copy=False)


def open_npz(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """An archive's arrays; ``x_test`` is what to validate with, or, where it is missing, a share of the others.

    uint8 is scaled from [0, 255] to [0, 1]. Images are resized to what the model wants; sequences must have the shape.
    """
    path = user_path(argument)
    arrays = _read(path)
    inputs_name, labels_name = next((pair for pair in _TRAIN if pair[0] in arrays), ("", ""))
    if not inputs_name:
        raise DataError(f"{path} has none of the arrays x, inputs and x_train", fix=_FIX)

    def part(inputs: str, labels: str) -> tuple[np.ndarray, np.ndarray | None]:
        values = _check_inputs(path, inputs, arrays[inputs], wanted)
        found = arrays.get(labels)
        return values, None if found is None else check_labels(f"{labels} in {path}", found, len(values))

    train = part(inputs_name, labels_name)
    test = part(*_TEST) if inputs_name == "x_train" and "x_test" in arrays else None
    if test is not None and (test[1] is None) != (train[1] is None):
        raise DataError(f"{path} has only one of y_train and y_test", fix="store both or neither")
    labels = [found for _, found in (train, test or train) if found is not None]
    classes = max(int(found.max()) for found in labels) + 1 if labels else None
    if test is None:
        return split_arrays(source, *train, wanted, share=share, seed=seed, classes=classes)
    return Split(*(ArrayDataset(source, *found, wanted, classes=classes) for found in (train, test)))
