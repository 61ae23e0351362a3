"""Who is told while a tuning runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hal.tuner.messages import Description
from hal.tuner.result import ControlMeasurement, Trial, Tuning
from hal.tuner.space import Space

__all__ = ["Observer", "TuningProgress"]


@dataclass(frozen=True)
class TuningProgress:
    """Where a tuning is.

    Attributes:
        done: trials that have ended.
        expected: trials that there will be, as far as that can be said.
        best: the best so far.
        left_s: time left of the budget.
        elapsed_s: time since the start.
    """

    done: int
    expected: int | None
    best: Trial | None
    left_s: float
    elapsed_s: float


class Observer:
    """Told what happens; does nothing by itself."""

    def started(self, described: Description, space: Space, folder: Path, resumed: int) -> None:
        """The space is known.

        Args:
            described: where and what.
            space: all plans.
            folder: where results go.
            resumed: trials that are there already.
        """

    def note(self, text: str) -> None:
        """Something that people should know."""

    def trying(self, trial: str, progress: TuningProgress) -> None:
        """A trial begins; said in words."""

    def trial(self, trial: Trial, progress: TuningProgress) -> None:
        """A trial has ended."""

    def control(self, control: ControlMeasurement) -> None:
        """The default plan was measured again."""

    def finals(self, trials: Sequence[Trial]) -> None:
        """The last measurements begin."""

    def ended(self, tuning: Tuning, folder: Path) -> None:
        """It is over."""
