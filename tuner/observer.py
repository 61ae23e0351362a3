"""How a program follows a tuning while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hal.tuner.messages import Description
from hal.tuner.result import ControlMeasurement, Tuning
from hal.tuner.space import Space
from hal.tuner.trial_result import Trial
from hal.util.telling import Teller

__all__ = ["LastingObserver", "TuneObserver", "TuningProgress"]


@dataclass(frozen=True)
class TuningProgress:
    """How far a tuning is.

    Attributes:
        done: number of trials that have ended.
        expected: number of trials that are expected in total; None if it is unknown.
        best: the best trial so far; None if no plan has worked yet.
        left_s: seconds left of the budget.
        elapsed_s: seconds since the tuning began.
    """

    done: int
    expected: int | None
    best: Trial | None
    left_s: float
    elapsed_s: float


class TuneObserver:
    """Base class for a program that follows a tuning. Every method does nothing; override those of interest.

    Public as ``hal.tuner.TuneObserver``. Training runs have an observer of their own, :class:`hal.run.RunObserver`.
    """

    def started(self, described: Description, space: Space, folder: Path, resumed: int) -> None:
        """The plans to choose from are known, and the trials begin.

        Args:
            described: the device and the workload.
            space: all plans that can be tried.
            folder: the folder for the results.
            resumed: number of trials from earlier runs of this tuning.
        """

    def note(self, text: str) -> None:
        """There is something that the user should know."""

    def trying(self, trial: str, progress: TuningProgress) -> None:
        """A trial begins; ``trial`` says in words which plan it tries."""

    def trial(self, trial: Trial, progress: TuningProgress) -> None:
        """A trial has ended."""

    def control(self, control: ControlMeasurement) -> None:
        """A control measurement was made: the default plan was measured again."""

    def finals(self, trials: Sequence[Trial]) -> None:
        """The final measurements of the best plans begin."""

    def ended(self, tuning: Tuning, folder: Path) -> None:
        """The tuning is over, and its files are written."""


class LastingObserver(TuneObserver):
    """Passes everything on to another observer; that it cannot write does not end the tuning (:class:`Teller`)."""

    def __init__(self, observer: TuneObserver) -> None:
        self._observer, self._teller = observer, Teller(observer.note)

    def started(self, described: Description, space: Space, folder: Path, resumed: int) -> None:
        """Passed on."""
        self._teller.tell(self._observer.started, described, space, folder, resumed)

    def note(self, text: str) -> None:
        """Passed on."""
        self._teller.tell(self._observer.note, text)

    def trying(self, trial: str, progress: TuningProgress) -> None:
        """Passed on."""
        self._teller.tell(self._observer.trying, trial, progress)

    def trial(self, trial: Trial, progress: TuningProgress) -> None:
        """Passed on."""
        self._teller.tell(self._observer.trial, trial, progress)

    def control(self, control: ControlMeasurement) -> None:
        """Passed on."""
        self._teller.tell(self._observer.control, control)

    def finals(self, trials: Sequence[Trial]) -> None:
        """Passed on."""
        self._teller.tell(self._observer.finals, trials)

    def ended(self, tuning: Tuning, folder: Path) -> None:
        """Passed on."""
        self._teller.tell(self._observer.ended, tuning, folder)
