"""What timing one step function and comparing several share: blocks, the warm-up, when to look at the interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hal.measure.measurement import Settings

__all__ = ["BlockTimer", "Looks", "WarmUp", "warm_up"]

_HEADROOM = 1.1
"""Blocks are planned this much longer than they must be, so that a step somewhat faster than in the warm-up fits."""

_GROWTH = 10
"""Most that a warm-up block grows at once: the first ones are slow or quick by accident."""

_MOST_STEPS = 2**26
"""A clock that has not moved after so many steps does not move."""


class BlockTimer:
    """Times whole steps between synchronizations.

    Args:
        step: starts one step; its result is dropped.
        synchronize: waits until all that was started is done.
        clock: seconds from any start.
        each: wait after every step, not only after the last of a block.
    """

    def __init__(
        self,
        step: Callable[[], object],
        synchronize: Callable[[], None],
        clock: Callable[[], float],
        *,
        each: bool = False,
    ) -> None:
        self._step = step
        self._synchronize = synchronize
        self._clock = clock
        self._each = each

    def block(self, steps: int, *, untimed: int = 0) -> float:
        """Run steps and wait for them.

        Args:
            steps: how many to time.
            untimed: how many to run before.

        Returns:
            Seconds of the timed steps.
        """
        step, synchronize = self._step, self._synchronize
        for _ in range(untimed):
            step()
        synchronize()
        start = self._clock()
        if self._each:
            for _ in range(steps):
                step()
                synchronize()
        else:
            for _ in range(steps):
                step()
            synchronize()
        return self._clock() - start


@dataclass(frozen=True)
class WarmUp:
    """What a warm-up found.

    Attributes:
        seconds: how long it took.
        step_s: seconds of one step in the quickest block: what else the machine does can only add to it, and a block
            planned by a disturbed one would be too short.
        settled: whether two successive blocks agreed.
    """

    seconds: float
    step_s: float
    settled: bool

    def steps_per_block(self, settings: Settings) -> int:
        """Steps that take at least ``min_block_ms``."""
        return max(1, math.ceil(_HEADROOM * settings.min_block_ms / 1000 / self.step_s))


def warm_up(timer: BlockTimer, settings: Settings) -> WarmUp:
    """Run blocks until two successive ones agree, or to the limit. The blocks grow until they are long enough to time.

    Raises:
        ValueError: the clock does not advance.
    """
    enough_s = settings.min_block_ms / 1000
    steps, seconds, previous, quickest = 1, 0.0, math.inf, math.inf
    while True:
        took = timer.block(steps)
        seconds += took
        if took <= 0:
            if steps >= _MOST_STEPS:
                raise ValueError(f"the clock did not advance during {steps} steps; pass a clock that does")
            steps *= _GROWTH
            continue
        step_s = took / steps
        quickest = min(quickest, step_s)
        if took >= enough_s:
            if abs(step_s - previous) <= settings.warmup_tolerance * min(step_s, previous):
                return WarmUp(seconds, quickest, settled=True)
            previous = step_s
        if seconds >= settings.warmup_max_seconds:
            return WarmUp(seconds, quickest, settled=False)
        if took < enough_s:
            previous = math.inf
            steps = min(_GROWTH * steps, max(steps + 1, math.ceil(_HEADROOM * enough_s / step_s)))


class Looks:
    """When to compute the interval: at the first count, then each time it has grown by a fifth.

    Fewer looks keep the interval honest: one that is tested after every block stops at those that are narrow by
    chance.
    """

    def __init__(self, first: int) -> None:
        self._next = first

    def due(self, count: int) -> bool:
        """Whether to look now, with so many blocks."""
        if count < self._next:
            return False
        self._next = math.ceil(1.2 * count)
        return True
