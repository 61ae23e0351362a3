"""The largest batch that a compiler accepts, in few builds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Attempt", "LargestBatch", "largest_batch"]

_RESOLUTION = 64
"""The step is the largest power of two times the unit that is at most this part of the answer: 0.8 to 1.6 percent."""
_CHEAP = 0.25
"""Where a refusal takes less than this part of a build's time, the search comes from above, step by step."""
_DOUBT = 0.6
"""How far below its prediction the limit is taken to lie where the interval is halved."""
_OVERSHOOT = 16
"""How far above the predicted limit the first refusal is looked for: that of a small batch is too low."""
_RESERVE = 5
"""Time that is kept for a build near the answer, in builds of the longest so far: larger programs take longer."""
_STRIDE = 16
"""How much larger the next build is at most where that time is not left."""
_PATIENCE = 5
"""Of how many refusals' time a build that is not refused probably fits."""
_MARGIN = 1.45
"""How far above its prediction the limit may lie: compilers squeeze what nearly fits, by 1.36 as far as was seen."""


@dataclass(frozen=True)
class Attempt:
    """What a compiler answered for one batch size.

    Attributes:
        fits: it built, and fits.
        needed_bytes: memory of one device that it needs, also where it does not fit; None where the compiler gave
            another reason.
        reason: why it does not fit.
        seconds: how long the compiler took to say so.
    """

    fits: bool
    needed_bytes: int | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class LargestBatch:
    """The answer of a search.

    Attributes:
        batch: the largest batch that was built and fits; 0: none does.
        refused: a batch above it that was tried and does not fit; None: the search's ceiling stopped it.
        reason: why the refused one does not fit; empty where none was refused.
        builds: how many programs were compiled.
        seconds: how long that took.
        stopped: why the search ended before the step was fine; empty: it is.
        likely: a batch that was being built when the time was up, for so much longer than refusals take that it
            probably fits; None: there is none.
    """

    batch: int
    refused: int | None
    reason: str
    builds: int
    seconds: float
    stopped: str = ""
    likely: int | None = None

    @property
    def step(self) -> int | None:
        """How exact the answer is: ``batch`` builds, ``batch + step`` was tried and does not."""
        return None if self.refused is None else self.refused - self.batch


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
) -> LargestBatch:
    """Search for the largest batch that fits.

    Both ends of the answer are built: ``batch`` fits and ``refused`` does not, one step above. The step is ``unit`` for
    small answers and about one percent of large ones. Memory need not grow evenly with the batch (layouts change):
    what is found is one place where fitting ends, and above it only the batches that were tried are known not to fit.

    The compiler of most TPUs refuses in a quarter of a second but takes half a minute to build what nearly fills the
    memory. Where refusals are that cheap the search comes down to the limit from above, one step after the other, and
    builds once. Elsewhere it interpolates, and halves the interval where that does not help.

    Args:
        build: compiles for a batch size, a multiple of ``unit``; raises TimeoutError where its time is up.
        start: a batch size to begin at.
        unit: what batches are multiples of, the number of devices that share one for example.
        capacity_bytes: memory of one device, to extrapolate with.
        ceiling: the largest batch that makes sense.
        known: what the compiler answered for ``start``, if it was asked already.
        budget_s: the search ends with the interval that it has when another build may not end within this time (s).
        clock: a monotonic clock in seconds.
    """
    search = _Search(build, unit, clock)
    top = max(1, ceiling // unit)
    first = min(max(1, start // unit), top)
    if known is not None and first * unit == start:
        search.record(first, known)
    try:
        return search.answer(_narrowed(search, first, top, capacity_bytes, budget_s))
    except TimeoutError as late:
        return search.answer(str(late))


def _narrowed(search: _Search, first: int, top: int, capacity: int | None, budget_s: float) -> str:
    """Narrow the interval until its step is fine; what ended that before."""
    began = search.clock()
    if budget_s <= 0:
        return "the time limit was reached before the search began"
    if first not in search:
        search.probe(first)
    if not search.low and search.needed(first) is None and first > 1:
        search.probe(1)
    if not search.low and search.needed(search.high or 1) is None:
        return ""
    while search.high is None:
        if search.low >= top:
            return f"a batch of {search.low * search.unit:,} is the largest that the search tries"
        search.probe(min(top, _OVERSHOOT * max(search.low, search.predicted(capacity) or 0)))
    while search.high - search.low > _grain(search.low):
        left_s, predicted = budget_s - (search.clock() - began), search.predicted(capacity)
        if left_s <= 0:
            return "the time limit was reached"
        safe = int(_DOUBT * (predicted or 0))
        if not search.cheap and left_s < _RESERVE * search.longest_s and search.low < safe < search.high:
            # Batches that surely fit, each in a little more time, before it is spent on one that may take all of it.
            search.probe(min(safe, _STRIDE * max(1, search.low)))
        else:
            search.probe(_next(search, predicted))
    return ""


class _Search:
    """What is known so far, in units: ``low`` fits (0: nothing does yet), ``high`` does not."""

    def __init__(self, build: Callable[[int], Attempt], unit: int, clock: Callable[[], float]) -> None:
        self._build = build
        self.unit = unit
        self.clock = clock
        self._began = clock()
        self._tried: dict[int, Attempt] = {}
        self._at: tuple[int, float] | None = None
        self.builds = 0
        self.low = 0
        self.high: int | None = None

    def __contains__(self, units: int) -> bool:
        return units in self._tried

    def probe(self, units: int) -> None:
        self._at = units, self.clock()
        attempt = self._build(units * self.unit)
        self._at = None
        self.builds += 1
        self.record(units, attempt)

    def record(self, units: int, attempt: Attempt) -> None:
        self._tried[units] = attempt
        if attempt.fits:
            self.low = max(self.low, units)
        elif self.high is None or units < self.high:
            self.high = units

    @property
    def longest_s(self) -> float:
        """The longest that the compiler took."""
        return max(attempt.seconds for attempt in self._tried.values())

    @property
    def cheap(self) -> bool:
        """Whether refusals take next to no time beside builds."""
        builds = [attempt.seconds for attempt in self._tried.values() if attempt.fits]
        refusals = [attempt.seconds for attempt in self._tried.values() if not attempt.fits]
        return bool(builds and refusals) and statistics.median(refusals) < _CHEAP * max(builds)

    def needed(self, units: int) -> int | None:
        return self._tried[units].needed_bytes if units in self._tried else None

    def predicted(self, capacity: int | None) -> int | None:
        """Where a straight line through what is known of memory crosses the capacity; None: nothing to draw it by."""
        if capacity is None:
            return None
        low = self.needed(self.low) if self.low else 0
        if self.high is None:
            return int(self.low * capacity / low) if low else None
        high = self.needed(self.high)
        if low is None or high is None:
            return None
        if not low < capacity < high:
            return self.low if low >= capacity else self.high
        return int(self.low + (capacity - low) * (self.high - self.low) / (high - low))

    def answer(self, stopped: str) -> LargestBatch:
        refused = None if self.high is None else self.high * self.unit
        reason = "" if self.high is None else self._tried[self.high].reason
        spent_s = self.clock() - self._began
        return LargestBatch(self.low * self.unit, refused, reason, self.builds, spent_s, stopped, self._likely())

    def _likely(self) -> int | None:
        refusals = [attempt.seconds for attempt in self._tried.values() if not attempt.fits]
        if self._at is None or not refusals:
            return None
        units, began = self._at
        return units * self.unit if self.clock() - began > _PATIENCE * max(refusals) else None


def _next(search: _Search, predicted: int | None) -> int:
    """The next batch to try, strictly between what fits and what does not."""
    low, high, cheap = search.low, search.high or 1, search.cheap
    step = _grain(max(low, high - _grain(high)))
    if predicted is None or (not cheap and search.builds % 3 == 0):
        wanted = math.isqrt(max(1, low, int(_DOUBT * (predicted or 0))) * high)
    elif cheap:
        wanted = high - (2 if high > 1.1 * predicted else 1) * step
        wanted = min(wanted, int(_MARGIN * predicted))
        step = _grain(wanted)
    else:
        # A prediction next to one end is tested by the step itself.
        wanted = min(max(predicted, low + step), high - step)
    aligned = wanted // step * step
    return aligned if low < aligned < high else min(max(wanted, low + 1), high - 1)


def _grain(units: int) -> int:
    """The step for an answer of this size: a power of two, so that finer steps divide coarser ones."""
    return 1 << max(0, (units // _RESOLUTION).bit_length() - 1)
