"""The largest batch that a compiler accepts, in few builds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Attempt", "Largest", "largest_batch"]

_RESOLUTION = 64
"""The step is the largest power of two times the unit that is at most this part of the answer: 0.8 to 1.6 percent."""
_SECOND = 64
"""How much larger than the first the second batch is, which shows how memory grows with the batch."""
_BELOW = 0.95
_ABOVE = 1.5
"""Where the ends of the first interval are looked for, beside the prediction. Compilers squeeze what nearly fits: that
of TPUs built programs 1.35 times as large as the line through smaller ones allows."""


@dataclass(frozen=True)
class Attempt:
    """What a compiler answered for one batch size.

    Attributes:
        fits: it built, and fits.
        needed_bytes: memory of one device that it needs, where the compiler tells.
        reason: why it does not fit.
    """

    fits: bool
    needed_bytes: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Largest:
    """The answer of a search.

    Attributes:
        batch: the largest batch that was built and fits; 0: none does.
        refused: the smallest batch above it that was tried and does not fit; None: the search's ceiling stopped it.
        reason: why the refused one does not fit, or what else stopped the search.
        builds: how many programs were compiled.
        seconds: how long that took.
    """

    batch: int
    refused: int | None
    reason: str
    builds: int
    seconds: float


def largest_batch(
    build: Callable[[int], Attempt],
    *,
    start: int,
    unit: int = 1,
    capacity_bytes: int | None = None,
    ceiling: int = 2**31 - 1,
    known: Attempt | None = None,
    budget_s: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Largest:
    """Bisect for the largest batch that fits.

    Both ends of the answer are built: ``batch`` fits and ``refused``, one step above, does not. The step is ``unit``
    for small answers and about one percent of large ones, or what is left of the interval when the time is up. Memory
    need not grow evenly with the batch (layouts change): what is found is one place where fitting ends.

    Two builds show how memory grows; the line through them predicts where it ends, and the interval around that is
    halved.

    Args:
        build: compiles for a batch size, a multiple of ``unit``.
        start: a batch size to begin at.
        unit: what batches are multiples of, the number of devices that share one for example.
        capacity_bytes: memory of one device, to predict with.
        ceiling: the largest batch that makes sense.
        known: what the compiler answered for ``start``, if it was asked already.
        budget_s: no build begins that would probably end after this time, unless an end is still missing.
        clock: a monotonic clock in seconds.
    """
    search = _Search(build, unit, max(1, ceiling // unit), clock)
    first = min(max(1, start // unit), search.top)
    if known is not None and first * unit == start:
        search.record(first, known)
    else:
        search.probe(first)
    while True:
        wanted = search.next(capacity_bytes)
        complete = search.high is not None and (search.low or search.high == 1)
        if wanted is None or (complete and clock() - search.began + search.longest_s > budget_s):
            return search.answer()
        search.probe(wanted)


class _Search:
    """What is known so far, in units: ``low`` fits (0: nothing does yet), ``high`` does not."""

    def __init__(self, build: Callable[[int], Attempt], unit: int, top: int, clock: Callable[[], float]) -> None:
        self.build, self.unit, self.top, self.clock = build, unit, top, clock
        self.began = clock()
        self.tried: dict[int, Attempt] = {}
        self.longest_s = 0.0
        self.builds = self.low = 0
        self.high: int | None = None

    def probe(self, units: int) -> None:
        before = self.clock()
        attempt = self.build(units * self.unit)
        self.longest_s = max(self.longest_s, self.clock() - before)
        self.builds += 1
        self.record(units, attempt)

    def record(self, units: int, attempt: Attempt) -> None:
        self.tried[units] = attempt
        if attempt.fits:
            self.low = max(self.low, units)
        elif self.high is None or units < self.high:
            self.high = units

    def next(self, capacity: int | None) -> int | None:
        """The next batch to try, strictly between the ends; None: they are one step apart."""
        low, high = self.low, self.high
        if high is None:
            if low == self.top:
                return None
            predicted = self._predicted(capacity)
            if len(self.tried) == 1 or predicted is None:
                far = low * _SECOND
                return min(self.top, far if predicted is None else max(low + 1, min(far, predicted // 2)))
            below = int(_BELOW * predicted)
            return min(self.top, below if below > low else max(low + 1, int(_ABOVE * max(low, predicted))))
        step = _grain(low or high)
        if high - low <= (step if low else 1):
            return None
        if not low and len(self.tried) == 1 and self.tried[high].needed_bytes is None:
            return 1  # whether it builds at all
        predicted = self._predicted(capacity)
        middle = math.isqrt(max(1, low) * high)
        if predicted is not None and low < int(_BELOW * predicted) < high and int(_BELOW * predicted) > middle:
            middle = int(_BELOW * predicted)
        aligned = middle // step * step
        return aligned if low < aligned < high else min(max(middle, low + 1), high - 1)

    def _predicted(self, capacity: int | None) -> int | None:
        """Where the line through the two largest batches that fit crosses the capacity, in units."""
        fitting = sorted(units for units, attempt in self.tried.items() if attempt.fits and attempt.needed_bytes)
        if capacity is None or not fitting:
            return None
        right = fitting[-1]
        left = fitting[-2] if len(fitting) > 1 else 0
        needed = self.tried[right].needed_bytes or 0
        slope = (needed - ((self.tried[left].needed_bytes or 0) if left else 0)) / (right - left)
        return int(right + (capacity - needed) / slope) if slope > 0 and needed < capacity else None

    def answer(self) -> Largest:
        refused = None if self.high is None else self.high * self.unit
        reason = (
            f"a batch of {self.low * self.unit} is as far as the search goes"
            if self.high is None
            else self.tried[self.high].reason
        )
        return Largest(self.low * self.unit, refused, reason, self.builds, self.clock() - self.began)


def _grain(units: int) -> int:
    """The step for an answer of this size: a power of two, so that finer steps divide coarser ones."""
    return 1 << max(0, (units // _RESOLUTION).bit_length() - 1)
