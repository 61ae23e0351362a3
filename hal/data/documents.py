"""Texts of which each has a class, as the ids of their tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hal.data.arrays import check_parts, shuffled_split
from hal.data.spec import Dataset, Field, Split, Wanted
from hal.errors import ConfigError

__all__ = ["DocumentDataset", "Texts", "split_documents"]

BYTES_PER_CHARACTER = 8
"""What a text takes at its peak, for each of its bytes on the disk: as it was read, as a string, and as ids."""


@dataclass(frozen=True)
class Texts:
    """Some texts and the number of the class of each.

    Attributes:
        values: the texts.
        labels: integers (texts,).
    """

    values: Sequence[str]
    labels: np.ndarray


class DocumentDataset(Dataset):
    """The beginnings of texts as ids, in memory.

    Args:
        name: the source, as the user wrote it.
        ids: integers (count, length).
        labels: integers (count,).
        class_names: a name for each class.
        tokens: the name of the tokenizer.
    """

    def __init__(self, name: str, ids: np.ndarray, labels: np.ndarray, class_names: Sequence[str], tokens: str) -> None:
        self.name = name
        self.classes = len(class_names)
        self.class_names = tuple(class_names)
        self.vocabulary = ""
        self.tokens = tokens
        self.inputs = Field(ids.shape[1:], np.dtype(np.int64))
        self.labels = Field((), np.dtype(np.int64))
        self._ids = ids
        self._label_values = labels

    def __len__(self) -> int:
        return len(self._ids)

    def counts(self) -> np.ndarray | None:
        """See :meth:`Dataset.counts`."""
        return np.bincount(self._label_values, minlength=len(self.class_names))

    def digest(self) -> str:
        """See :meth:`Dataset.digest`; of the ids, the labels and the names of the classes."""
        about = repr((self._ids.shape, str(self._ids.dtype), self.class_names, self.tokens))
        found = hashlib.blake2b(about.encode("utf-8", "surrogateescape"), digest_size=16)
        for array in (self._ids, self._label_values):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Dataset.take`."""
        return {
            "inputs": self._ids[indices].astype(np.int64),
            "labels": self._label_values[indices].astype(np.int64),
        }


def split_documents(
    source: str,
    found: Texts,
    held: Texts | None,
    names: Sequence[str],
    wanted: Wanted,
    *,
    share: float,
    seed: int,
    notes: Sequence[str] = (),
    hint: str = "",
) -> Split:
    """Data sets of texts that were read.

    Args:
        source: as the user wrote it.
        found: what to train on.
        held: what to validate with; None: a share of the former.
        names: of the classes.
        wanted: what the model asks for, with its tokenizer.
        share: to hold back, in (0, 1), of every class.
        seed: decides which samples those are.
        notes: on what was found.
        hint: see :attr:`Split.hint`.

    Raises:
        DataError: there are too few texts.
        ConfigError: the model names no tokenizer.
    """
    tokenizer = wanted.tokenizer
    if tokenizer is None:
        raise ConfigError(
            "the model asks for texts, but says not how they become ids",
            fix="give Wanted a tokenizer: hal.data.Bytes()",
        )
    length = wanted.shape[0]
    if held is None:
        ids, longer = tokenizer.encode(found.values, length)
        rows = shuffled_split(source, found.labels, len(ids), share, seed)
        parts = [(ids[some], found.labels[some]) for some in rows]
    else:
        check_parts(source, len(found.values), len(held.values))
        (ids, longer), (held_ids, held_longer) = (tokenizer.encode(some.values, length) for some in (found, held))
        parts = [(ids, found.labels), (held_ids, held.labels)]
        longer += held_longer
    told = [*notes]
    total = len(found.values) + (len(held.values) if held is not None else 0)
    if longer:
        told.append(
            f"{longer:,} of {total:,} texts {'is' if longer == 1 else 'are'} longer than {length:,} {tokenizer.unit}; "
            "the model reads only the beginning"
        )
    if copies := total - len({*found.values, *(held.values if held is not None else ())}):
        told.append(
            f"{copies:,} of {total:,} texts {'is a copy' if copies == 1 else 'are copies'} of another one; a copy of a "
            "text that was trained on says little about new texts"
        )
    train, validation = (DocumentDataset(source, *part, names, tokenizer.name) for part in parts)
    return Split(train, validation, tuple(told), hint)
