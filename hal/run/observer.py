"""What a run tells whoever watches it; the default does nothing with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hal.job.prepare import Job
from hal.run.record import Epoch, Record
from hal.util.telling import Teller

__all__ = ["LastingObserver", "RunObserver"]


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


class LastingObserver(RunObserver):
    """Passes everything on to another observer; that it cannot write does not end the run (:class:`Teller`)."""

    def __init__(self, observer: RunObserver) -> None:
        self._observer, self._teller = observer, Teller(observer.note)

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """Passed on."""
        self._teller.tell(self._observer.started, job, folder, epochs, resumed_step)

    def note(self, text: str) -> None:
        """Passed on."""
        self._teller.tell(self._observer.note, text)

    def step(self, epoch: int, step: int, steps: int, samples: int, loss: Callable[[], dict[str, float]]) -> None:
        """Passed on."""
        self._teller.tell(self._observer.step, epoch, step, steps, samples, loss)

    def epoch(self, epoch: Epoch) -> None:
        """Passed on."""
        self._teller.tell(self._observer.epoch, epoch)

    def ended(self, record: Record, folder: Path) -> None:
        """Passed on."""
        self._teller.tell(self._observer.ended, record, folder)
