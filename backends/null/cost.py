"""What a computation costs: operations, bytes moved and live memory, recorded op by op.

Conventions:
    FLOPs. A multiply-add counts 2, any elementary function of one number (an exponential, a comparison) counts 1, and
    moving or converting data counts 0. Padding counts as data.

    Bytes moved. Each input is read once and each output written once, as if caches were large enough within one op and
    empty between two. A gather reads what it returns. A view (a slice, a transpose, a reshape) moves nothing.

    Live memory. Every array that something still refers to, down to the moment when CPython releases it; views share
    the memory of what they look at. No allocator's rounding, no workspace of a library.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from hal.contract.costs import CostCount, OpRecord, Phase

__all__ = ["PROCESS", "Cost", "LiveBytes", "Storage", "count", "record", "see"]

Shape = tuple[int, ...]


class LiveBytes:
    """A counter of live memory and its peak.

    Memory may be released by the garbage collector at any point of any thread, so a release only appends to a queue.
    It is taken off before the next allocation; memory peaks at allocations alone, so the peak is exact.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._released: deque[int] = deque()
        self._live = 0
        self._peak = 0
        self._inherited = 0

    def allocate(self, size: int) -> None:
        """Memory that comes to life now."""
        with self._lock:
            self._drain()
            self._live += size
            self._peak = max(self._peak, self._live)

    def inherit(self, size: int) -> None:
        """Memory seen now for the first time that has been alive since before the counting began."""
        with self._lock:
            self._inherited += size

    def release(self, size: int) -> None:
        """Memory that is no longer alive."""
        self._released.append(size)

    def restart(self) -> None:
        """Start a new peak from what is alive now."""
        with self._lock:
            self._drain()
            self._peak = self._live

    @property
    def live(self) -> int:
        """Bytes alive now."""
        return self.since_start + self._inherited

    @property
    def since_start(self) -> int:
        """Bytes alive now, less those inherited; negative once inherited memory is released."""
        with self._lock:
            self._drain()
            return self._live

    @property
    def inherited(self) -> int:
        """Bytes that were alive before the counting began."""
        return self._inherited

    @property
    def peak(self) -> int:
        """The most bytes that were alive at once."""
        return self._peak + self._inherited

    def _drain(self) -> None:
        while self._released:
            self._live -= self._released.popleft()


class Cost(CostCount):
    """The ops that ran while counting, in order, with totals. See :func:`count`."""

    def __init__(self) -> None:
        self.memory = LiveBytes()
        self._records: list[OpRecord] = []

    @property
    def records(self) -> tuple[OpRecord, ...]:
        """One record for each op."""
        # A record's memory lacks what was found later to have been alive all along.
        extra = self.memory.inherited
        return tuple(
            OpRecord(r.name, r.phase, r.inputs, r.outputs, r.dtype, r.flops, r.bytes_moved, r.live_bytes + extra)
            for r in self._records
        )

    @property
    def peak_live_bytes(self) -> int:
        """The most memory that was alive at once, arrays from before the counting included if an op used them."""
        return self.memory.peak

    @property
    def live_bytes(self) -> int:
        """Memory alive now, of the arrays that this count has seen."""
        return self.memory.live

    def add(self, op: OpRecord) -> None:
        """Append a record whose memory is counted from the start of the counting."""
        self._records.append(op)


_ACTIVE: ContextVar[tuple[Cost, ...]] = ContextVar("hal_null_costs", default=())

PROCESS = LiveBytes()
"""Memory of all arrays without values in this process."""


@contextmanager
def count() -> Iterator[Cost]:
    """Record what the ops in the body cost, in this thread; may be nested."""
    cost = Cost()
    token = _ACTIVE.set((*_ACTIVE.get(), cost))
    try:
        yield cost
    finally:
        _ACTIVE.reset(token)


class Storage:
    """Memory that arrays share; alive as long as this object is."""

    __slots__ = ("__weakref__", "meters", "nbytes")

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.meters = [PROCESS, *(cost.memory for cost in _ACTIVE.get())]
        for meter in self.meters:
            meter.allocate(nbytes)

    def __del__(self) -> None:
        for meter in self.meters:
            meter.release(self.nbytes)


def see(storage: Storage) -> None:
    """Tell the running counts that memory is in use, in case it is older than they are."""
    for cost in _ACTIVE.get():
        if cost.memory not in storage.meters:
            cost.memory.inherit(storage.nbytes)
            storage.meters.append(cost.memory)


def record(
    name: str,
    phase: Phase,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    *,
    dtype: str,
    flops: int,
    bytes_moved: int,
) -> None:
    """Add an op to the running counts."""
    for cost in _ACTIVE.get():
        live = cost.memory.since_start
        cost.add(OpRecord(name, phase, tuple(inputs), tuple(outputs), dtype, flops, bytes_moved, live))
