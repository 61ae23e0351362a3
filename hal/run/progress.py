"""How far a training has come, and the sums of the epoch under way."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hal.errors import NumericsError
from hal.job.placing import place
from hal.job.prepare import Job
from hal.types import Array

__all__ = ["EpochSums", "Progress", "check_finite"]


@dataclass
class Progress:
    """How far a training has come; a checkpoint keeps it.

    Attributes:
        epoch: epochs that are over.
        step: optimizer steps since the start.
        step_in_epoch: optimizer steps since the start of the epoch under way.
        seconds: time in the steps of that epoch, the data path included.
        sums: of what each of those steps reported, by name.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)


class EpochSums:
    """The sums of an epoch's metrics, on the device, and the time that its steps take.

    Args:
        job: where the metrics are computed.
        progress: is brought up to date by :meth:`settle`. The sums of a resumed epoch go on from its fp32 values, so
            that the means of the epoch come out the same.
    """

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job, self._progress = job, progress
        self._sums: dict[str, Array] = place(
            job, {name: np.array(x, np.float32) for name, x in progress.sums.items()}, {}
        )
        self.start_clock()

    def start_clock(self) -> None:
        """Count the time from now on; what went before since :meth:`settle`, such as saving, does not count."""
        self._before_s, self._began = self._progress.seconds, time.perf_counter()

    def add(self, metrics: Mapping[str, Array]) -> None:
        """Add what one step reported; does not wait for the device."""
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def means(self) -> dict[str, float]:
        """The means over the epoch so far; waits for the device."""
        return {name: value / self._progress.step_in_epoch for name, value in self._totals().items()}

    def settle(self) -> None:
        """Wait for the device, then bring the time and the sums of the progress up to date.

        Raises:
            NumericsError: a sum is not finite.
        """
        self._job.backend.synchronize(self._job.device)
        self._progress.seconds = self._before_s + time.perf_counter() - self._began
        totals = self._totals()
        check_finite(totals, self._progress.step)
        self._progress.sums = totals

    def _totals(self) -> dict[str, float]:
        return {name: float(self._job.backend.to_host(x)) for name, x in self._sums.items()}


def check_finite(numbers: Mapping[str, float], step: int) -> None:
    """Refuse to go on with numbers that are not finite.

    Raises:
        NumericsError: one of them is infinite or not a number.
    """
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise NumericsError(
                f"{name} is {value} by step {step}",
                fix="lower lr=, set clip=1, or use precision=fp32; the last checkpoint was not overwritten",
            )
