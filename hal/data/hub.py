"""Data sets of the package ``datasets``, where it is installed and the data are on this machine already."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hal.data.arrays import check_labels
from hal.data.columns import Column, Table, column_of_numbers, column_of_texts
from hal.data.documents import Texts, split_documents
from hal.data.files import check_memory, user_path
from hal.data.images import fit, image_shape
from hal.data.npz import split_named_arrays
from hal.data.spec import Split, Wanted
from hal.data.table import check_keys
from hal.data.targets import TaskKey
from hal.data.vectors import listed, split_table
from hal.errors import ConfigError, DataError, NotFoundError, UnavailableError
from hal.util.messages import first_line

__all__ = ["open_hub"]

_HELD = ("validation", "valid", "val", "dev", "test")
_TEXT = "text sentence content review document question"
_IMAGE = "image img picture photo"
_LABEL = "label labels class target fine_label category"
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_USUAL = (224, 224, 3)


def open_hub(
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
    """A data set by its name or folder; images, texts with classes, or columns of numbers. Nothing is downloaded."""
    check_keys(wanted, text=text, features=features, task=task, skip_bad=skip_bad)
    train, held, name = _parts(source, argument)
    if wanted.kind == "document":
        return _documents(source, train, held, wanted, share, seed, text, label)
    if wanted.kind == "image":
        return _images(source, train, held, wanted, share, seed, label)
    table = _table(source, train)
    split = split_table(
        source, table, wanted, share=share, seed=seed, label=label, features=features, task=task, skip_bad=skip_bad
    )
    if held is None:
        return split
    note = f"the part {name} is not used: of columns of numbers, a share of the part train is held back"
    return replace(split, notes=(*split.notes, note))


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """What the package reads when it is imported: that it must not use a network."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _parts(source: str, argument: str) -> tuple[Any, Any, str]:
    """The part to train on, and the one to validate with and its name.

    Without the latter (None), a share of the former is to be held back.
    """
    with _offline():
        try:
            import datasets  # pyright: ignore[reportMissingImports] - an extra
        except ImportError as error:
            raise UnavailableError(
                f"data={source} needs the package datasets, which is not installed",
                fix="pip install 'hal-tensor[datasets]'",
            ) from error
        folder = user_path(argument)
        try:
            found = datasets.load_from_disk(str(folder)) if folder.is_dir() else datasets.load_dataset(argument)
        except Exception as error:  # whatever the package raises for what it does not find or cannot read
            raise NotFoundError(
                f"data={source} is not on this machine, or cannot be read: {first_line(error)}",
                fix="load it once with the package itself, with a network, or give a folder that save_to_disk wrote",
            ) from error
    if not isinstance(found, dict):
        return found, None, ""
    if "train" not in found:
        raise DataError(f"data={source} has no part train; it has {listed(list(found))}", fix="use another data set")
    name = next((name for name in _HELD if name in found), "")
    return found["train"], found[name] if name else None, name


def _column(source: str, part: Any, key: str, given: str | None, usual: str) -> str:
    names = list(part.column_names)
    if given is not None and given not in names:
        raise ConfigError(f"data={source} has no column {given}", fix=f"its columns are: {listed(names)}")
    found = given or next((name for name in usual.split() if name in names), None)
    if found is None:
        raise ConfigError(
            f"data={source} has no column that is known to hold the {key}",
            fix=f"write data.{key}=COLUMN with one of its columns: {listed(names)}",
        )
    return found


def _classes(source: str, part: Any, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (samples,), and the names of the classes, which the package knows for most data sets."""
    values = np.asarray(part[name])
    if values.dtype.kind in "iu":
        labels = check_labels(f"data={source}", values, len(values))
        return labels, _names(part, name) or tuple(map(str, range(int(labels.max(initial=0)) + 1)))
    found, numbers = np.unique(values.astype(str), return_inverse=True)
    return numbers.astype(np.int64), tuple(map(str, found))


def _names(part: Any, name: str) -> tuple[str, ...]:
    return tuple(getattr(part.features[name], "names", None) or ())


def _held_classes(source: str, part: Any, name: str, classes: Sequence[str]) -> np.ndarray:
    """Labels (samples,) of the held-out part, numbered as the classes of the part to train on.

    Raises:
        DataError: a label is none of these classes.
    """
    values = np.asarray(part[name])
    cells = [str(value) for value in values.tolist()]
    if values.dtype.kind in "iu" and (own := _names(part, name)):
        cells = [own[value] if 0 <= value < len(own) else str(value) for value in values.tolist()]
    numbers = {each: number for number, each in enumerate(classes)}
    if unknown := sorted({cell for cell in cells if cell not in numbers}):
        raise DataError(
            f"data={source} has the label {unknown[0]} in its held-out part, but no such class in the part train",
            fix=f"use a data set whose parts have the same classes; those of the part train are: {listed(classes)}",
        )
    return np.asarray([numbers[cell] for cell in cells], np.int64)


def _documents(
    source: str, train: Any, held: Any, wanted: Wanted, share: float, seed: int, text: str | None, label: str | None
) -> Split:
    at = _column(source, train, "text", text, _TEXT), _column(source, train, "label", label, _LABEL)
    labels, names = _classes(source, train, at[1])
    found = Texts([str(value) for value in train[at[0]]], labels)
    validation = None
    if held is not None:
        validation = Texts([str(value) for value in held[at[0]]], _held_classes(source, held, at[1], names))
    return split_documents(source, found, validation, names, wanted, share=share, seed=seed)


def _images(source: str, train: Any, held: Any, wanted: Wanted, share: float, seed: int, label: str | None) -> Split:
    at = _column(source, train, "image", None, _IMAGE), _column(source, train, "label", label, _LABEL)
    wanted = wanted.filled(_USUAL)
    shape = image_shape(wanted)
    check_memory(f"data={source}", 4 * int(np.prod(shape)) * len(train))

    def decoded(part: Any) -> np.ndarray:
        mode = "L" if shape[2] == 1 else "RGB"
        images = (np.asarray(image.convert(mode), np.float32) / 255 for image in part[at[0]])
        return np.concatenate([fit(image.reshape(1, *image.shape[:2], shape[2]), shape) for image in images])

    labels, names = _classes(source, train, at[1])
    arrays = {"x": decoded(train), "y": labels}
    if held is not None:
        arrays |= {"x_test": decoded(held), "y_test": _held_classes(source, held, at[1], names)}
    return split_named_arrays(
        source, f"data={source}", arrays, wanted, share=share, seed=seed, task="classify", class_names=names
    )


def _table(source: str, part: Any) -> Table:
    columns: list[Column] = []
    for name in part.column_names:
        values = list(part[name])
        names = getattr(part.features[name], "names", None)
        if names:
            values = [None if value is None else names[value] for value in values]
        if all(value is None or isinstance(value, int | float) for value in values):
            missing = np.asarray([value is None for value in values])
            numbers = np.asarray([0.0 if value is None else float(value) for value in values])
            columns.append(column_of_numbers(name, numbers, missing | np.isnan(numbers)))
        else:
            columns.append(column_of_texts(name, ["" if value is None else str(value) for value in values]))
    return Table(f"data={source}", tuple(columns), np.arange(1, len(part) + 1))
