"""Data sets whose samples are in memory, and how they are split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from hal.data.images import check_channels, fit, image_shape
from hal.data.spec import Columns, Dataset, Field, Split, Task, Wanted, generator
from hal.errors import DataError

__all__ = ["ArrayDataset", "check_classes", "check_labels", "shuffled_split", "split_arrays"]

_MOST_CLASSES = 100_000
"""A label above this, and above the number of samples, is a mistake: an output layer for it would fill the memory."""


class ArrayDataset(Dataset):
    """Images or sequences in one array; converted, resized and repeated when they are taken, since that is cheap.

    Args:
        name: of the source, as the user wrote it.
        values: images (count, height, width, channels) of any float dtype in [0, 1] or uint8; or sequences
            (count, time, features) or vectors (count, features), which must have the wanted shape. A size that the
            model leaves open is theirs.
        labels: integers (count,), checked; None: there are none.
        wanted: what the model asks for.
        classes: how many labels there are.
        class_names: a name for each, or nothing.
        task: what the labels are; numbers and tags are (count, N) in any float dtype.
        columns: of the inputs, where they come from a table.
        targets: of the labels, where they are numbers.
        rows: which samples belong to this data set, (length,); None: all.
    """

    def __init__(
        self,
        name: str,
        values: np.ndarray,
        labels: np.ndarray | None,
        wanted: Wanted,
        *,
        classes: int | None,
        class_names: Sequence[str] = (),
        rows: np.ndarray | None = None,
        task: Task = "classify",
        columns: Columns | None = None,
        targets: Columns | None = None,
    ) -> None:
        wanted = wanted.filled(values.shape[1:])
        if values.ndim == 4:
            check_channels(name, values.shape[3], wanted)
        self.name = name
        self.classes = classes
        self.class_names = tuple(class_names)
        self.vocabulary = ""
        self.inputs = Field(wanted.shape, np.dtype(np.float32))
        self.task, self.columns, self.targets = task, columns, targets
        self.labels = None
        if labels is not None:
            self.labels = Field(labels.shape[1:], np.dtype(np.int64 if task == "classify" else np.float32))
        self._values = values
        self._label_values = labels
        self._rows = np.arange(len(values)) if rows is None else rows
        self._image = image_shape(wanted) if values.ndim == 4 else None

    def __len__(self) -> int:
        return len(self._rows)

    def counts(self) -> np.ndarray | None:
        """See :meth:`Dataset.counts`."""
        if self._label_values is None or self.task != "classify":
            return None
        return np.bincount(self._label_values[self._rows], minlength=self.classes or 0)

    def digest(self) -> str:
        """See :meth:`Dataset.digest`; of the values as they are stored."""
        found = hashlib.blake2b(repr((self._values.shape, str(self._values.dtype))).encode(), digest_size=16)
        for array in (self._values, self._label_values, self._rows):
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def value_range(self) -> tuple[float, float] | None:
        """See :meth:`Dataset.value_range`."""
        if len(self.inputs.shape) == 3 or self._values.size == 0:
            return None
        if self._image is not None:
            return 0.0, 1.0
        scale = 255 if self._values.dtype == np.uint8 else 1
        return float(self._values.min()) / scale, float(self._values.max()) / scale

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Dataset.take`."""
        rows = self._rows[indices]
        values = self._values[rows]
        inputs = values.astype(np.float32, copy=False)
        if values.dtype == np.uint8:
            inputs /= 255
        if self._image is not None:
            inputs = fit(inputs, self._image)
        batch: dict[str, np.ndarray] = {"inputs": np.ascontiguousarray(inputs.reshape(len(rows), *self.inputs.shape))}
        if self._label_values is not None and self.labels is not None:
            batch["labels"] = self._label_values[rows].astype(self.labels.dtype)
        return batch


def check_labels(where: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Labels as int64 (count,).

    Args:
        where: what to name in an error.
        labels: as they were found, (count,) or (count, 1).
        count: how many inputs there are.

    Raises:
        DataError: another shape, another number of labels, not integers, or negative.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where} has labels of dtype {labels.dtype}", fix="store class numbers as integers, 0 or more")
    if labels.ndim != 1:
        raise DataError(
            f"{where} has labels of shape {labels.shape}; expected ({count},)",
            fix="store one class number for each sample, not a vector",
        )
    if len(labels) != count:
        raise DataError(f"{where} has {len(labels)} labels for {count} inputs", fix="store one label for each sample")
    if count and int(labels.min()) < 0:
        raise DataError(f"{where} has the label {int(labels.min())}", fix="number the classes from 0")
    if count and int(labels.max()) >= max(_MOST_CLASSES, count):
        raise DataError(
            f"{where} has the label {int(labels.max())}, so a model would need at least as many classes; at most "
            f"{max(_MOST_CLASSES, count):,} are allowed",
            fix="number the classes from 0 without gaps",
        )
    return labels.astype(np.int64)


def check_classes(split: Split) -> None:
    """Refuse labels of which a classifier cannot learn anything.

    Raises:
        DataError: all samples to train on are of one class.
    """
    counts = split.train.counts()
    if counts is None or np.count_nonzero(counts) > 1:
        return
    names = split.train.class_names
    only = int(np.argmax(counts))
    raise DataError(
        f"data={split.train.name} has samples of only one class, {names[only] if names else only}; a classifier needs "
        "at least two",
        fix=split.hint or "add samples of other classes, or use a model that needs no classes: model=gan",
    )


def shuffled_split(
    source: str, labels: np.ndarray | None, count: int, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and to hold back, shuffled, with the same share of every class held back.

    Args:
        source: what to name in an error.
        labels: integers (count,); None: one class.
        count: how many samples there are.
        share: to hold back, in (0, 1).
        seed: what alone decides the order.

    Returns:
        Two arrays that hold each index from 0 to below count once. A class of two samples or more is in both.

    Raises:
        DataError: one of the two would be empty.
    """
    random = generator(seed)
    groups = [np.arange(count)] if labels is None else [np.flatnonzero(labels == label) for label in np.unique(labels)]
    train, held = [], []
    for group in groups:
        size = len(group)
        cut = min(max(round(share * size), 1), size - 1) if size > 1 else 0
        order = random.permutation(group)
        held.append(order[:cut])
        train.append(order[cut:])
    parts = [random.permutation(np.concatenate(part)) if part else np.arange(0) for part in (train, held)]
    check_parts(source, len(parts[0]), len(parts[1]), classes=labels is not None)
    return parts[0], parts[1]


def check_parts(source: str, train: int, validation: int, *, classes: bool = True) -> None:
    """Refuse a split with an empty part.

    Args:
        source: what to name in an error.
        train: how many samples there are to train on.
        validation: how many are held back.
        classes: whether the samples have classes, each of which is divided by itself.

    Raises:
        DataError: one of the two parts has no samples.
    """
    if not train or not validation:
        raise DataError(
            f"data={source} gives {train} samples for training and {validation} for validation; each needs at "
            f"least one",
            fix=f"use more data, with at least two samples{' of one class' if classes else ''}",
        )


def split_arrays(
    name: str,
    values: np.ndarray,
    labels: np.ndarray | None,
    wanted: Wanted,
    *,
    share: float,
    seed: int,
    classes: int | None,
    class_names: Sequence[str] = (),
) -> Split:
    """Split samples in memory into two data sets that share the memory; see :class:`ArrayDataset`."""
    parts = [
        ArrayDataset(name, values, labels, wanted, classes=classes, class_names=class_names, rows=rows)
        for rows in shuffled_split(name, labels, len(values), share, seed)
    ]
    return Split(parts[0], parts[1])
