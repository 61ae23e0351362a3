"""Waits for a compiler, but no longer than until a given time.

A compiler can be interrupted neither by Ctrl-C nor by a clock, so each runs in a thread. One that nobody waits for any
more goes on beside whatever comes next, and would keep the process from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["still_compiling", "wait_for"]

T = TypeVar("T")

_THREAD = "hal-compile"


def wait_for(compiler: Callable[[], T], until: float | None, late: str) -> T:
    """What a compiler gives, or raises.

    Args:
        compiler: called in a thread of its own.
        until: when to give up, on the clock of ``time.monotonic()`` (s); None: never.
        late: message of the error that says so.

    Raises:
        TimeoutError: it has not ended by then; its thread goes on.
    """
    results: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def call() -> None:
        try:
            results.put((compiler(), None))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            results.put((None, error))

    threading.Thread(target=call, name=_THREAD).start()
    try:
        result, error = results.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
    except Empty:
        raise TimeoutError(late) from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def still_compiling() -> bool:
    """Whether a compiler that nobody waits for any more is still running in this process."""
    return any(thread.name == _THREAD for thread in threading.enumerate())
