"""Control measurements: the default plan is measured again now and then, to see whether the machine has changed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from hal.tuner.messages import Order
from hal.tuner.result import ControlMeasurement
from hal.tuner.session import TuningSession
from hal.tuner.space import key_of
from hal.tuner.trial_result import Outcome, Trial

__all__ = ["DriftMonitor"]

_EVERY_TRIALS = 8
_EVERY_S = 30.0
"""A control measurement is made after so many trials, but not more often than once in so many seconds."""

_MOST_DRIFT = 0.2
"""Largest change of speed that values are corrected for, as the absolute value of its logarithm."""


class DriftMonitor:
    """Measures the default plan again and corrects later trials for the machine's speed.

    Args:
        session: the tuning.

    Attributes:
        measurements: all control measurements so far.
        factor: current speed of the machine over its speed in the first trial; 1 if no change is certain.
    """

    def __init__(self, session: TuningSession) -> None:
        self._session = session
        self.measurements: list[ControlMeasurement] = []
        self.factor = 1.0
        self._last_at, self._trials_since = time.monotonic(), 0

    def trial_ended(self) -> None:
        """Count a trial."""
        self._trials_since += 1

    def check(self, trials: Sequence[Trial]) -> None:
        """Make a control measurement if one is due.

        Args:
            trials: the trials that have ended, by number.
        """
        session = self._session
        first = next((t for t in trials if key_of(t.plan) == key_of(session.space.default)), None)
        if first is None or first.measurement is None or first.outcome is not Outcome.OK:
            return
        if self._trials_since < _EVERY_TRIALS or time.monotonic() - self._last_at < _EVERY_S:
            return
        self._last_at, self._trials_since = time.monotonic(), 0
        config = session.config
        order = Order(plan=first.plan, seconds=config.seconds, guard=False, latency=config.mode == "infer")
        answer = session.pool.run(order, config.limit_s)
        if answer.measurement is None:
            return
        then, today = first.measurement.throughput, answer.measurement.throughput
        ratio = today.median / then.median * first.drift
        self.measurements.append(
            ControlMeasurement(
                after_trial=trials[-1].number, elapsed_s=session.elapsed_s, throughput=today, drift=ratio
            )
        )
        # Within the noise of both measurements, a correction would only add noise. A larger change is a disturbance
        # and no drift: it need not hold for the next trial or for other plans.
        sure = today.surely_below(then) or then.surely_below(today)
        self.factor = ratio if sure and abs(math.log(ratio)) <= _MOST_DRIFT else 1.0
        session.observer.control(self.measurements[-1])
