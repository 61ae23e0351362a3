"""Waits for a compiler, but no longer than until a given time.

A compiler can be interrupted neither by Ctrl-C nor by a clock, so each runs in a thread. One that nobody waits for any
more goes on beside whatever comes next, and would keep the process from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["still_compiling", "wait_for"]

T = TypeVar("T")

_abandoned: list[threading.Thread] = []
"""Threads of compilers that nobody waits for any more."""


def wait_for(compiler: Callable[[], T], until: float | None, late: str) -> T:
    """What a compiler gives, or raises.

    Args:
        compiler: called in a thread of its own.
        until: when to give up, on the clock of ``time.monotonic()`` (s); None: never.
        late: message of the error that says so.

    Raises:
        TimeoutError: it has not ended by then; its thread goes on.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()  # an interrupted join would leave a thread that seems to have ended

    def call() -> None:
        try:
            results.append(compiler())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=call, name="hal-compile")
    thread.start()
    try:
        ended.wait(None if until is None else max(0.0, until - time.monotonic()))
    finally:  # Ctrl-C ends the wait too
        if not ended.is_set():
            _abandoned.append(thread)
    if not ended.is_set():
        raise TimeoutError(late)
    if errors:
        raise errors[0]
    return results[0]


def still_compiling() -> bool:
    """Whether a compiler that nobody waits for any more is still running in this process."""
    return any(thread.is_alive() for thread in _abandoned)
