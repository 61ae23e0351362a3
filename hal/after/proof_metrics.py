"""The metrics of models without classes, from outputs and labels on the host, for a proof of an export."""

from __future__ import annotations

import abc
from typing import Literal

import numpy as np

from hal.data import Dataset
from hal.data.spec import Columns

__all__ = ["F1", "R2", "ProofMetric", "metric_of"]


class ProofMetric(abc.ABC):
    """A metric over the samples of several batches; those of training are defined in :mod:`hal.nn.tasks`."""

    name: Literal["R2", "F1"]

    @abc.abstractmethod
    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        """Count a batch.

        Args:
            outputs: of the model, (batch, outputs).
            labels: as the data set gives them, of the same shape.
        """

    @abc.abstractmethod
    def value(self) -> float | None:
        """The metric; None: no sample was added, or it is not defined for these."""


class R2(ProofMetric):
    """1 - (squared error) / (squared distance of the labels from their mean), of all numbers.

    Args:
        columns: scale the labels; outputs are in the units of the data.
    """

    name = "R2"

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._samples = 0
        self._error = self._squares = 0.0
        self._sums = np.zeros(len(columns.names))

    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        """See :meth:`ProofMetric.add`."""
        wanted = labels.astype(np.float64)
        scaled = (outputs.astype(np.float64) - np.asarray(self._columns.means)) / np.asarray(self._columns.scales)
        self._samples += len(wanted)
        self._error += float(np.square(scaled - wanted).sum())
        self._squares += float(np.square(wanted).sum())
        self._sums += wanted.sum(axis=0)

    def value(self) -> float | None:
        """See :meth:`ProofMetric.value`."""
        spread = self._squares - float(np.square(self._sums).sum()) / max(1, self._samples)
        return 1 - self._error / spread if spread > 0 else None


class F1(ProofMetric):
    """The mean of the F1 of each sample, which is 1 where no tag is wanted and none is predicted."""

    name = "F1"

    def __init__(self) -> None:
        self._samples, self._sum = 0, 0.0

    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        """See :meth:`ProofMetric.add`."""
        said, wanted = outputs > 0, labels > 0.5
        both, any_of = (said & wanted).sum(axis=1), said.sum(axis=1) + wanted.sum(axis=1)
        self._samples += len(labels)
        self._sum += float(np.where(any_of == 0, 1.0, 2 * both / np.maximum(any_of, 1)).sum())

    def value(self) -> float | None:
        """See :meth:`ProofMetric.value`."""
        return self._sum / self._samples if self._samples else None


def metric_of(data: Dataset) -> ProofMetric | None:
    """A new metric for the labels of a data set; None: they are classes, or there are none."""
    if data.task == "tags":
        return F1()
    return R2(data.targets) if data.task == "regress" and data.targets is not None else None
