"""What a run tells whoever watches it; the default does nothing with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec

from hal.errors import HalError, RunError
from hal.job.prepare import Job
from hal.run.record import Epoch, Record
from hal.util.telling import Teller

__all__ = ["LastingObserver", "Observers", "RunObserver"]

P = ParamSpec("P")


class RunObserver:
    """Methods that a run calls as it goes on; each does nothing unless a subclass overrides it.

    They are called in the process that leads the run, between steps, so what they do takes time from the training. An
    error in one ends the run, and names the observer and the method; an error of hal is raised as it is.
    """

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

    def failed(self, record: Record, folder: Path) -> None:
        """The run was ended by an error, or by a second Ctrl-C; the record says which. An error in here is ignored."""


class LastingObserver(RunObserver):
    """Passes everything on to another observer.

    That it cannot write does not end the run (:class:`Teller`). Another error does, as one that names the observer and
    the method that failed.
    """

    def __init__(self, observer: RunObserver) -> None:
        self._observer, self._teller = observer, Teller(observer.note)

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """Passed on."""
        self._pass(self._observer.started, job, folder, epochs, resumed_step)

    def note(self, text: str) -> None:
        """Passed on."""
        self._pass(self._observer.note, text)

    def step(self, epoch: int, step: int, steps: int, samples: int, loss: Callable[[], dict[str, float]]) -> None:
        """Passed on."""
        self._pass(self._observer.step, epoch, step, steps, samples, loss)

    def epoch(self, epoch: Epoch) -> None:
        """Passed on."""
        self._pass(self._observer.epoch, epoch)

    def ended(self, record: Record, folder: Path) -> None:
        """Passed on."""
        self._pass(self._observer.ended, record, folder)

    def failed(self, record: Record, folder: Path) -> None:
        """Passed on."""
        self._pass(self._observer.failed, record, folder)

    def _pass(self, method: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            self._teller.tell(method, *args, **kwargs)
        except HalError:
            raise
        except Exception as error:
            where = f"{type(self._observer).__name__}.{getattr(method, '__name__', 'a method')}"
            said = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise RunError(
                f"the observer of the run failed in {where}: {said}",
                fix="correct the observer; the last checkpoint is whole, and resume= goes on from it",
            ) from error


class Observers(RunObserver):
    """Tells several observers, one after the other."""

    def __init__(self, observers: Sequence[RunObserver]) -> None:
        self._observers = observers

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """Told to all."""
        for each in self._observers:
            each.started(job, folder, epochs, resumed_step)

    def note(self, text: str) -> None:
        """Told to all."""
        for each in self._observers:
            each.note(text)

    def step(self, epoch: int, step: int, steps: int, samples: int, loss: Callable[[], dict[str, float]]) -> None:
        """Told to all."""
        for each in self._observers:
            each.step(epoch, step, steps, samples, loss)

    def epoch(self, epoch: Epoch) -> None:
        """Told to all."""
        for each in self._observers:
            each.epoch(epoch)

    def ended(self, record: Record, folder: Path) -> None:
        """Told to all."""
        for each in self._observers:
            each.ended(record, folder)

    def failed(self, record: Record, folder: Path) -> None:
        """Told to all, whatever becomes of it."""
        for each in self._observers:
            with contextlib.suppress(Exception):  # what ended the run matters more
                each.failed(record, folder)
