"""Which epoch of a training was the best, whether it still gets better, and which checkpoints are kept for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hal.run.record import Epoch

__all__ = ["Kept", "Metric"]


@dataclass(frozen=True)
class Metric:
    """The number by which epochs are compared.

    Attributes:
        name: among the validation metrics of an epoch.
        better: whether ``max`` or ``min`` is better.
    """

    name: str
    better: Literal["max", "min"]

    def best(self, epochs: Sequence[Epoch]) -> Epoch | None:
        """The first of the best epochs; None: the metric was measured in none."""
        measured = [epoch for epoch in epochs if self.name in epoch.validation]
        sign = 1 if self.better == "max" else -1
        return max(measured, key=lambda epoch: sign * epoch.validation[self.name], default=None)

    def epochs_without_improvement(self, epochs: Sequence[Epoch]) -> int:
        """How many of the epochs came after the best one; 0 where the metric was never measured."""
        best = self.best(epochs)
        return 0 if best is None else len(epochs) - 1 - epochs.index(best)


@dataclass(frozen=True)
class Kept:
    """What remains of the checkpoints, by the key ``keep``.

    Attributes:
        keep: the key's value.
        metric: of the model.
    """

    keep: str | int
    metric: Metric

    @property
    def last(self) -> int | None:
        """How many of the last checkpoints remain; None: all."""
        if isinstance(self.keep, int):
            return self.keep
        return None if self.keep == "all" else 2

    def best_step(self, history: Sequence[Epoch], there: Sequence[int]) -> int | None:
        """The step of the best checkpoint; None: the key does not ask for one, or there is none.

        Args:
            history: the epochs that were measured.
            there: steps of the checkpoints that exist; that of an epoch may be gone, where a run went on elsewhere.
        """
        if self.keep == "last":
            return None
        best = self.metric.best([epoch for epoch in history if epoch.step in there])
        return None if best is None else best.step

    def steps(self, history: Sequence[Epoch], complete: int, there: Sequence[int]) -> set[int]:
        """Steps of the checkpoints that remain besides the last ones.

        Args:
            history: the epochs that were measured.
            complete: how many of them are over; the one after them will be measured anew when the run goes on, so the
                best before it remains as well.
            there: steps of the checkpoints that exist.
        """
        found = (self.best_step(history, there), self.best_step(history[:complete], there))
        return {step for step in found if step is not None}
