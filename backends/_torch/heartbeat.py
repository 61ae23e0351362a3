"""Notices that a process on another host is gone without a word, as when the host loses its power.

Nothing closes the connections of such a process. Those that exchange with it would wait until their timeout, which has
to be long, since a process may rightly work alone for minutes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Heartbeat"]

_INTERVAL_S = 10.0
_LIMIT_S = 60.0
_FAREWELL_S = 5.0
"""How long a store may take to hear that this process leaves."""
_LEFT = 1 << 40
"""Added to the counter of a process that has left; no counter gets there by beats."""


class Heartbeat:
    """Counts up a number of this process in a store, and watches that of the next rank, in two threads.

    One watcher is enough for each process: where it ends, its own connections close, and the others notice that.

    Args:
        connect: gives a store that no other thread uses.
        rank: of this process.
        size: number of processes.
        lost: called once, with a sentence, when the next rank or the store has not answered for a while.
        interval_s: between two beats.
        limit_s: how long nothing may be heard.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        rank: int,
        size: int,
        lost: Callable[[str], None],
        interval_s: float = _INTERVAL_S,
        limit_s: float = _LIMIT_S,
    ) -> None:
        self._connect, self._rank, self._next = connect, rank, (rank + 1) % size
        self._lost, self._interval_s, self._limit_s = lost, interval_s, limit_s
        self._over = threading.Event()
        self._answered = self._grown = time.monotonic()
        self._beating, watching = (
            threading.Thread(target=work, name="hal-heartbeat", daemon=True) for work in (self._beat, self._watch)
        )
        self._beating.start()
        watching.start()

    def stop(self) -> None:
        """This process leaves, and says so in the store."""
        self._over.set()
        self._beating.join(_FAREWELL_S)

    def wait_stopped(self, seconds: float) -> bool:
        """Wait until :meth:`stop` was called; false: it was not, in this time."""
        return self._over.wait(seconds)

    def _beat(self) -> None:
        # Where the store refuses to talk, its process has ended, which exchanges with it notice.
        with contextlib.suppress(RuntimeError):
            store, before = self._connect(), 0
            while True:
                store.add(self._key(self._rank), 1)
                count = store.add(self._key(self._next), 0)
                self._answered = time.monotonic()
                if count != before or count >= _LEFT:
                    before, self._grown = count, self._answered
                if self._over.wait(self._interval_s):
                    store.add(self._key(self._rank), _LEFT)
                    return
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._interval_s):
            now = time.monotonic()
            if now - self._answered > self._limit_s:
                self._lost(f"the host where the processes met has not answered for {self._limit_s:g} s")
                return
            if now - self._grown > self._limit_s:
                self._lost(f"rank {self._next} has not answered for {self._limit_s:g} s")
                return

    @staticmethod
    def _key(rank: int) -> str:
        return f"hal/heartbeat/{rank}"
