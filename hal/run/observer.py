"""What a run tells whoever watches it; the default does nothing with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hal.job.prepare import Job
from hal.run.record import Epoch, Record

__all__ = ["RunObserver"]


class RunObserver:
    """Methods that a run calls as it goes on; each does nothing unless a subclass overrides it."""

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """The run begins: its keys are valid and its folder exists.

        Args:
            job: what runs where.
            folder: of the run.
            epochs: how many the run will have.
            resumed_step: the optimizer step that it goes on from; None: it starts from the beginning.
        """

    def note(self, text: str) -> None:
        """A sentence for people, for example that the features of the data are computed once."""

    def step(self, epoch: int, step: int, steps: int, samples: int, loss: Callable[[], dict[str, float]]) -> None:
        """An optimizer step was given to the device.

        Args:
            epoch: its number, from 1.
            step: number of the step within the epoch, from 1.
            steps: how many the epoch has.
            samples: how many a step takes.
            loss: gives the means of the epoch so far; calling it waits for the device.
        """

    def epoch(self, epoch: Epoch) -> None:
        """An epoch was trained and evaluated."""

    def ended(self, record: Record, folder: Path) -> None:
        """The run is over; the record is written."""
