"""Weights of the classes, as a number beside each sample of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hal.data.spec import Dataset
from hal.errors import ConfigError

__all__ = ["WeightedData", "class_weights"]


def class_weights(data: Dataset, asked: str | Sequence[float]) -> np.ndarray:
    """A weight for each class, scaled so that the mean over the samples is 1.

    Args:
        data: the training samples.
        asked: ``balanced``, which makes all classes count alike, or a positive number for each class.

    Returns:
        float32 (classes,).

    Raises:
        ConfigError: the samples have no classes, or there are more or fewer weights than classes.
    """
    counts = data.counts()
    if counts is None or data.task != "classify":
        raise ConfigError(
            f"class_weights= needs one class for each sample, which data={data.name} does not have",
            fix="leave class_weights= out",
        )
    if isinstance(asked, str):
        weights = np.where(counts > 0, 1 / np.maximum(counts, 1), 0.0)
    else:
        if len(asked) != len(counts):
            names = f" ({', '.join(data.class_names[:10])})" if data.class_names else ""
            raise ConfigError(
                f"class_weights= has {len(asked)} numbers, but data={data.name} has {len(counts)} classes{names}",
                fix="write one number for each class, or class_weights=balanced",
            )
        weights = np.asarray(asked, np.float64)
    found: np.ndarray = (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)
    return found


class WeightedData(Dataset):
    """Samples with the weight of their class.

    Args:
        source: the samples.
        weights: float32 (classes,).
    """

    def __init__(self, source: Dataset, weights: np.ndarray) -> None:
        self.name, self.classes, self.class_names = source.name, source.classes, source.class_names
        self.vocabulary, self.inputs, self.labels = source.vocabulary, source.inputs, source.labels
        self.reads_files, self.parts = source.reads_files, source.parts
        self._source, self._weights = source, weights

    def __len__(self) -> int:
        return len(self._source)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Dataset.take`; with ``weights``, float32 (batch,)."""
        batch = self._source.take(indices)
        return {**batch, "weights": self._weights[batch["labels"]]}

    def at_epoch(self, epoch: int) -> Dataset:
        """See :meth:`Dataset.at_epoch`."""
        inner = self._source.at_epoch(epoch)
        return self if inner is self._source else WeightedData(inner, self._weights)
