"""What a model asks of its data, and what a data set is."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from hal.data.tokens import Tokenizer
from hal.errors import ConfigError

__all__ = ["Columns", "Dataset", "Field", "Kind", "Split", "Task", "Wanted", "generator"]

Kind = Literal["image", "sequence", "vector", "text", "document"]
Task = Literal["classify", "regress", "tags"]

_DIGESTED = 1024
"""Samples that are digested at once."""

_AXES = {
    "image": "(height, width, channels)",
    "sequence": "(time, features)",
    "vector": "(features,)",
    "text": "(length,)",
    "document": "(length,)",
}


@dataclass(frozen=True)
class Wanted:
    """What a model asks for.

    Attributes:
        kind: ``image``, ``sequence``, ``vector``, ``text`` (a text whose characters are predicted) or
            ``document`` (texts of which each has a class).
        shape: of one sample: image (height, width, channels), sequence (time, features), vector (features,), text and
            document (length,). A size of 0 leaves it to the data.
        tokenizer: what turns documents into ids; None for other kinds.
        instead: keys of the model with which it takes another kind of data, by that kind.

    Raises:
        ConfigError: there is no such kind, or the shape does not have its axes, or a size is negative.
    """

    kind: Kind
    shape: tuple[int, ...]
    tokenizer: Tokenizer | None = None
    instead: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(
                f"the model asks for data of the unknown kind {self.kind!r}",
                fix=f"use one of: {', '.join(get_args(Kind))}",
            )
        axes = _AXES[self.kind]
        if len(self.shape) != len(axes.strip("(),").split(", ")) or min(self.shape) < 0:
            raise ConfigError(
                f"the model asks for {self.kind} data of shape {self.shape}",
                fix=f"use {axes}, each at least 1, or 0 for the size that the data have",
            )

    def filled(self, sizes: Sequence[int]) -> Wanted:
        """The same, with the sizes of the data where the model takes any.

        Args:
            sizes: of one sample of the data.

        >>> Wanted("image", (0, 0, 3)).filled((28, 28, 1)).shape
        (28, 28, 3)
        """
        if 0 not in self.shape:
            return self
        return replace(self, shape=tuple(asked or size for asked, size in zip(self.shape, sizes, strict=False)))


@dataclass(frozen=True)
class Field:
    """One array of a sample, without the batch.

    Attributes:
        shape: for example (28, 28, 1), or () for a class label.
        dtype: float32 or int64.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Columns:
    """Numbers of a table, which are scaled to a mean of 0 and a deviation of 1 of the training samples.

    Attributes:
        names: of the columns.
        means: of each column, as it was before.
        scales: the deviation of each, positive.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Numbers (count, columns) as float32 (count, columns) that models learn from."""
        found: np.ndarray = ((values - np.asarray(self.means)) / np.asarray(self.scales)).astype(np.float32)
        return found


class Dataset(abc.ABC):
    """Samples by index.

    A data set does not change once it is made, so any number of threads may read from it.

    Attributes:
        name: where the samples come from, as the user wrote it.
        classes: how many labels there are; for text the size of the vocabulary; None without labels.
        class_names: a name for each class; empty where there are none.
        vocabulary: for text the character of each id; empty otherwise.
        tokens: for documents the name of the tokenizer; empty otherwise.
        task: what the labels are: ``classify`` (a class), ``regress`` (numbers) or ``tags`` (any number of classes).
        columns: of the inputs, where they come from a table; None otherwise.
        targets: of the labels, where they are numbers; None otherwise.
        inputs: shape and dtype of one input.
        parts: where a sample has several inputs, each by its name; ``inputs`` is then the first of them.
        labels: shape and dtype of one label; None without labels.
        reads_files: whether taking samples reads or decodes files, so that reading ahead pays.
    """

    name: str
    classes: int | None
    class_names: tuple[str, ...]
    vocabulary: str
    tokens: str = ""
    task: Task = "classify"
    columns: Columns | None = None
    targets: Columns | None = None
    inputs: Field
    labels: Field | None
    reads_files: bool = False
    parts: Mapping[str, Field] = MappingProxyType({})

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abc.abstractmethod
    def take(self, indices: np.ndarray) -> dict[str, Any]:
        """Some samples as a batch, in freshly made arrays.

        Args:
            indices: integers (batch,) from 0 to below the length; repeats are allowed.

        Returns:
            ``inputs`` and, unless :attr:`labels` is None, ``labels``: images float32 (batch, height, width, channels)
            in [0, 1], sequences float32 (batch, time, features), vectors float32 (batch, features) and documents int64
            (batch, length) with labels int64 (batch,), or float32 (batch, numbers or tags); text int64
            (batch, length) with labels of the same shape, each the character after its input.
            Where a sample has several inputs, ``inputs`` is a dict of arrays, as :attr:`parts` says.

        Raises:
            DataError: a sample is damaged; names the file.
            NotFoundError: a file has gone or cannot be read.
        """

    def counts(self) -> np.ndarray | None:
        """How many samples each class has, integers (classes,); None where samples have no class of their own."""
        return None

    def digest(self) -> str:
        """A short text that differs where the samples or their order do."""
        found = hashlib.blake2b(digest_size=16)
        for start in range(0, len(self), _DIGESTED):
            batch = self.take(np.arange(start, min(start + _DIGESTED, len(self))))
            for array in _arrays(batch):
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def check(self, *, whole: bool) -> None:  # noqa: B027 - what lies in memory was checked when it was read
        """Find damage before it is met in the middle of a training.

        Args:
            whole: decode every sample; otherwise read only the beginning of each file.

        Raises:
            DataError: samples are damaged; names the first of them and says how many there are.
            NotFoundError: a file has gone or cannot be read.
        """

    def value_range(self) -> tuple[float, float] | None:
        """The smallest and the largest number of the inputs; None for images, whose range is known, and for ids."""
        return None

    def at_epoch(self, epoch: int) -> Dataset:
        """The data set as training sees it in an epoch, of the same length; most are the same in each."""
        return self


@dataclass(frozen=True)
class Split:
    """The samples to train on, and those that are held back to measure with.

    Attributes:
        train: to train on.
        validation: held back.
        skipped: what was left out because it is damaged, with the reason, one line each.
        notes: what was found but is not used, and what is odd about the data, in sentences.
        hint: what to do if all samples turn out to be of one class; empty: nothing special.
    """

    train: Dataset
    validation: Dataset
    notes: tuple[str, ...] = ()
    hint: str = ""
    skipped: tuple[str, ...] = ()


def _arrays(batch: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for name in sorted(batch):
        value = batch[name]
        if isinstance(value, Mapping):
            yield from _arrays(value)
        else:
            yield value


def generator(*numbers: int) -> np.random.Generator:
    """A random generator that depends only on the numbers given, such as a seed and an epoch.

    Raises:
        ConfigError: a number is negative.
    """
    if min(numbers) < 0:
        raise ConfigError(f"seed={numbers[0]} with {list(numbers[1:])}: seeds and epochs should be 0 or more")
    return np.random.default_rng(numbers)
