"""Samples from the arrays of a NumPy archive."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hal.data.arrays import ArrayDataset, shuffled_split
from hal.data.convert import LARGEST_FLOAT
from hal.data.files import check_memory, unreadable, user_path
from hal.data.images import BECOMES_GRAY
from hal.data.parts import HELD, TRAIN
from hal.data.spec import Columns, Split, Wanted
from hal.data.targets import Targets, TaskKey, scales_of, targets_of_array
from hal.errors import ConfigError, DataError
from hal.util.messages import first_line
from hal.util.reading import open_regular

__all__ = ["open_npz", "read_inputs", "split_named_arrays"]

_INPUTS = ("x", "inputs", "images", "input", "image", "features", "data")
_LABELS = ("y", "labels", "targets", "label", "target")
_TRAIN, _HELD = (*TRAIN, "tr", ""), (*HELD, "te")
"""Names of the parts, the one that is taken first where there are several."""

_ZIP, _NPY = b"PK", b"\x93NUM"
_ONE: Mapping[str, str] = {}
_FIX = "write it with numpy.savez: x and y, inputs and labels, or x_train, y_train, x_test and y_test"


@dataclass(frozen=True)
class _Names:
    """Names of the arrays that are used; empty: there is none."""

    inputs: str
    labels: str
    held_inputs: str
    held_labels: str

    def all(self) -> list[str]:
        return [name for name in (self.inputs, self.labels, self.held_inputs, self.held_labels) if name]


def _named(names: Iterable[str], kinds: tuple[str, ...], parts: tuple[str, ...]) -> str:
    """The array of a kind and part, however its name puts them together: ``x_train``, ``X_train``, ``train_x``."""
    plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in names}
    for part in parts:
        for kind in kinds:
            for spelled in (kind + part, part + kind):
                if spelled in plain:
                    return plain[spelled]
    return ""


def _names(path: Path | str, found: list[str]) -> _Names:
    inputs = _named(found, _INPUTS, _TRAIN)
    if not inputs:
        listed = f"; it contains {', '.join(sorted(found)[:8])}" if found else ""
        raise DataError(f"{path} contains none of the arrays x, inputs and x_train{listed}", fix=_FIX)
    names = _Names(
        inputs,
        _named(found, _LABELS, _TRAIN),
        _named(found, _INPUTS, _HELD),
        _named(found, _LABELS, _HELD),
    )
    if names.held_labels and not names.held_inputs:
        raise DataError(f"{path} has {names.held_labels}, but no inputs for these labels", fix=_FIX)
    return names


def _read(path: Path) -> tuple[dict[str, np.ndarray], _Names, list[str]]:
    """The arrays that are used, their names, and the names of those that are not."""
    try:
        with open_regular(path) as file:
            if file.read(len(_NPY)) not in (_ZIP + b"\x03\x04", _ZIP + b"\x05\x06", _NPY):
                raise DataError(f"{path} is not an archive of NumPy arrays: its first bytes are wrong", fix=_FIX)
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} contains a single array, not an archive of arrays", fix=_FIX)
            with archive:
                names = _names(path, archive.files)
                assert archive.zip is not None
                sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.zip.infolist()}
                check_memory(str(path), sum(sizes.get(name, 0) for name in names.all()), path.stat().st_size)
                found = {name: archive[name] for name in names.all()}
                rest = [name for name in archive.files if name not in found]
    except DataError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged header raises whatever zipfile, NumPy and the parser of Python's literals do
        said = first_line(error)
        raise DataError(f"{path} is not an archive of plain arrays: {said}", fix=_FIX) from error
    for name, value in found.items():
        if not isinstance(value, np.ndarray):  # a member of the archive that is no array comes as bytes
            raise DataError(f"{path} contains {name}, which is not an array", fix=_FIX)
    return found, names, rest


def read_inputs(where: str, file: BinaryIO, parts: Mapping[str, str] = _ONE) -> dict[str, np.ndarray]:
    """The inputs in a file of NumPy: a single array, or an archive with one that is named as inputs are.

    Of several parts of a data set, those to validate or to test with are taken first.

    Args:
        where: what to name in an error.
        file: of an array (.npy) or an archive of arrays (.npz).
        parts: names of the arrays of inputs that consist of several, or their numbers, for which NumPy writes arr_0,
            arr_1, ..., each with what users call it, which is taken too; empty: they are one.

    Returns:
        The arrays by their names; a single one under the empty name.

    Raises:
        DataError: it is damaged, or has no such arrays.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            arrays = {"": found}
            names = [""]
        else:
            with found as archive:
                assert archive.zip is not None
                sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.zip.infolist()}
                alone = archive.files[0] if len(archive.files) == 1 else ""
                single = _named(archive.files, _INPUTS, ("", *HELD, "te", *TRAIN, "tr")) or alone
                names = list(parts) or ([single] if single else [])
                check_memory(where, sum(sizes.get(name, 0) for name in names), size)
                held = {name: _written(name, parts, archive.files) for name in names}
                arrays = {name: archive[found] for name, found in held.items() if found in archive.files}
                known = ", ".join(sorted(archive.files)[:8])
    except DataError:
        raise
    except Exception as error:  # a damaged header raises whatever zipfile, NumPy and the parser of Python's literals do
        raise DataError(
            f"{where} is not an array or an archive of plain arrays: {first_line(error)}",
            fix="write it with numpy.savez: x, the inputs",
        ) from error
    if set(arrays) != set(parts or names) or not names:
        asked = ", ".join(_asked(name, called) for name, called in parts.items()) or "x or inputs"
        numbered = all(name.isdigit() for name in parts.values())
        wanted = ", ".join("..." if numbered else f"{name}=..." for name in parts.values()) or "x=inputs"
        raise DataError(
            f"{where} does not contain {asked}" + ("" if "" in arrays else f"; it contains {known or 'nothing'}"),
            fix=f"write it with numpy.savez(FILE, {wanted})",
        )
    return arrays if parts else {"": next(iter(arrays.values()))}


def _written(name: str, parts: Mapping[str, str], found: Sequence[str]) -> str:
    """The name of an array in an archive: as users call it, or what NumPy writes for one that has a number alone."""
    if name not in parts or parts[name] in found:
        return parts.get(name, name)
    return f"arr_{name}" if name.isdigit() else name


def _asked(name: str, called: str) -> str:
    """What an array may be called, for an error."""
    if not name.isdigit():
        return name
    return f"arr_{name}" if called == name else f"{called} (or arr_{name})"


def _check_inputs(path: Path | str, name: str, values: np.ndarray, wanted: Wanted) -> np.ndarray:
    if wanted.kind == "image" and values.ndim == 3:
        values = values[..., None]
    axes = len(wanted.shape) + 1
    if values.ndim != axes or 0 in values.shape:
        sizes = ", ".join("any" if wanted.kind == "image" else str(size or "any") for size in wanted.shape)
        raise DataError(
            f"{name} in {path} has shape {values.shape}, but the model takes {wanted.kind} data of (count, {sizes}), "
            "with no axis of 0",
            fix="store images as (count, height, width, channels), sequences as (count, time, features), vectors as "
            "(count, features)",
        )
    if wanted.kind == "sequence" and values.shape[1:] != wanted.filled(values.shape[1:]).shape:
        raise ConfigError(
            f"{name} in {path} has sequences of (time, features) {values.shape[1:]}, but the model takes "
            f"{wanted.shape}",
            fix="set the model's steps and features to these numbers, or store other sequences",
        )
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise DataError(
            f"{name} in {path} has dtype {values.dtype}, but must be uint8 or floating-point", fix="convert the array"
        )
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{name} in {path} contains values that are not finite", fix="remove those samples")
    if wanted.kind == "image" and not 0 <= low <= high <= 1:
        raise DataError(
            f"{name} in {path} contains images with values from {low:g} to {high:g}, but they must be from 0 to 1",
            fix="scale them to [0, 1], or store them as uint8 from 0 to 255",
        )
    if high > LARGEST_FLOAT or low < -LARGEST_FLOAT:
        raise DataError(
            f"{name} in {path} contains values from {low:g} to {high:g}, which are too large for float32",
            fix="scale the values, for example to a mean of 0 and a deviation of 1",
        )
    return values.astype(np.float32, copy=False)


def open_npz(source: str, argument: str, wanted: Wanted, share: float, seed: int, *, task: TaskKey = "auto") -> Split:
    """An archive's arrays; ``x_val`` or ``x_test`` is what to validate with, otherwise a share of the others.

    uint8 is scaled from [0, 255] to [0, 1]. Images are resized to what the model wants; sequences must have the shape.
    """
    path = user_path(argument)
    arrays, names, rest = _read(path)
    which = f"the array{'s' * (len(rest) > 1)} {', '.join(sorted(rest))}"
    notes = (f"left out: {which} in {path}",) if rest else ()
    found = _parts(str(path), arrays, names, wanted, task)
    split = _split(source, found, wanted, share, seed)
    return replace(split, notes=(*notes, *split.notes))


def split_named_arrays(
    source: str,
    where: str,
    arrays: Mapping[str, np.ndarray],
    wanted: Wanted,
    *,
    share: float,
    seed: int,
    task: TaskKey,
    class_names: Sequence[str] = (),
) -> Split:
    """Data sets of arrays in memory, whose names say what they are, as those in an archive.

    Args:
        source: as the user wrote it.
        where: names the arrays in an error.
        arrays: by name: x and y, or x_train, y_train, x_test and y_test.
        wanted: what the model asks for.
        share: to hold back, in (0, 1), where the names do not say which samples those are.
        seed: decides which.
        task: what the labels are.
        class_names: a name for each class, or nothing.

    Raises:
        DataError: an array is missing or is not what its name says.
    """
    found = _parts(where, arrays, _names(where, list(arrays)), wanted, task)
    return _split(source, found, wanted, share, seed, class_names)


@dataclass(frozen=True)
class _Part:
    values: np.ndarray
    targets: Targets | None


def _parts(
    where: str, arrays: Mapping[str, np.ndarray], names: _Names, wanted: Wanted, task: TaskKey
) -> tuple[_Part, _Part | None]:
    """What to train on and to validate with; None: a share of the former is to be held back."""

    def part(inputs: str, labels: str) -> _Part:
        values = _check_inputs(where, inputs, arrays[inputs], wanted)
        found = arrays.get(labels)
        about = None if found is None else targets_of_array(f"{labels} in {where}", found, len(values), task)
        return _Part(values, about)

    train = part(names.inputs, names.labels)
    held = part(names.held_inputs, names.held_labels) if names.held_inputs else None
    if held is not None and (held.targets is None) != (train.targets is None):
        raise DataError(
            f"{where} has only one of {names.labels or 'y_train'} and {names.held_labels or 'y_test'}",
            fix="store both arrays or neither",
        )
    if train.targets is None and task not in ("auto", "classify"):
        raise DataError(f"{where} has no labels, which data.task={task} needs", fix=_FIX)
    if held is not None and train.targets is not None and held.targets is not None:
        shapes = [part.values.shape[1:] for part in (train.targets, held.targets)]
        if shapes[0] != shapes[1]:
            raise DataError(
                f"{where} has labels of shape {shapes[0]} to train on and {shapes[1]} to validate with",
                fix="store labels of the same form in both arrays",
            )
    return train, held


def _split(
    source: str,
    found: tuple[_Part, _Part | None],
    wanted: Wanted,
    share: float,
    seed: int,
    class_names: Sequence[str] = (),
) -> Split:
    train, held = found[0], found[1] or found[0]
    rows: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if found[1] is None:
        stratum = None if train.targets is None else train.targets.stratum
        rows = shuffled_split(source, stratum, len(train.values), share, seed)
    about: dict[str, Any] = {"classes": None}
    columns = None
    if train.targets is not None and held.targets is not None:
        about, columns = _about(train.targets, held.targets, rows[0], tuple(class_names))
    parts = []
    for part, some in zip((train, held), rows, strict=True):
        labels = None if part.targets is None else part.targets.values
        if columns is not None and labels is not None:
            labels = columns.scaled(labels)
        parts.append(ArrayDataset(source, part.values, labels, wanted, rows=some, **about))
    gray = wanted.kind == "image" and wanted.shape[2] == 1 and train.values.shape[3] == 3
    return Split(parts[0], parts[1], (BECOMES_GRAY,) if gray else ())


def _about(
    train: Targets, held: Targets, rows: np.ndarray | None, class_names: tuple[str, ...]
) -> tuple[dict[str, Any], Columns | None]:
    """What a data set says of its labels, as arguments of :class:`ArrayDataset`, and the scales of numbers."""
    if train.task == "regress":
        columns = scales_of(train.names, train.values if rows is None else train.values[rows])
        return {"classes": None, "task": "regress", "targets": columns}, columns
    if train.task == "tags":
        return {"classes": len(train.names), "class_names": class_names or train.names, "task": "tags"}, None
    classes = max(int(train.values.max()), int(held.values.max())) + 1
    return {"classes": max(classes, len(class_names)), "class_names": class_names}, None
