"""What a run tells whoever watches it. The default watches in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hal.job.prepare import Job
from hal.run.record import Epoch, Record

__all__ = ["Observer"]


class Observer:
    """Hooks that a run calls; each does nothing unless overridden."""

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """The job is valid and its folder is there."""

    def note(self, text: str) -> None:
        """Something worth a line, for example that features are computed once."""

    def step(self, epoch: int, step: int, steps: int, samples: int, loss: Callable[[], dict[str, float]]) -> None:
        """An optimizer step was given to the device.

        Args:
            epoch: from 1.
            step: of the epoch, from 1.
            steps: of the epoch.
            samples: in a step.
            loss: fetches the means so far; waits for the device.
        """

    def epoch(self, epoch: Epoch) -> None:
        """An epoch was trained and evaluated."""

    def ended(self, record: Record, folder: Path) -> None:
        """The run is over; the record is written."""
