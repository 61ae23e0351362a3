"""Features that no later step changes, computed once for every sample of a data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hal.data import Dataset, batches
from hal.data.spec import Field

__all__ = ["Features"]


class Features(Dataset):
    """A data set whose inputs went through a function; its results are kept in host memory.

    Args:
        source: the data set.
        function: ``function(inputs) -> features`` for a batch of NumPy arrays.
        batch: samples that the function takes at once.
    """

    def __init__(self, source: Dataset, function: Callable[[np.ndarray], np.ndarray], batch: int) -> None:
        self.name, self.classes, self.class_names = source.name, source.classes, source.class_names
        self.vocabulary, self.tokens, self.labels = source.vocabulary, source.tokens, source.labels
        parts, labels = [], []
        for part in batches(source, batch, seed=0, epoch=0, shuffle=False, drop_last=False):
            parts.append(function(part["inputs"]))
            if "labels" in part:
                labels.append(part["labels"])
        self._inputs = np.concatenate(parts)
        self._labels = np.concatenate(labels) if labels else None
        self.inputs = Field(self._inputs.shape[1:], self._inputs.dtype)

    def __len__(self) -> int:
        return len(self._inputs)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Some samples as a batch."""
        batch = {"inputs": self._inputs[indices]}
        return batch if self._labels is None else {**batch, "labels": self._labels[indices]}
