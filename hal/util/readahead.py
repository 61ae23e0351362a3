"""Reads items ahead of their use, in a thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")
_AHEAD = 2


def read_ahead(items: Iterable[Any], take: Callable[[Any], T]) -> Generator[T, None, None]:
    """Iterate over ``take(item)``, computed in a thread two items ahead; closing the generator ends the thread.

    What reading or taking raises is raised to whoever iterates.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def offer(entry: tuple[str, Any]) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(entry, timeout=0.1)
                return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not offer(("item", take(item))):
                    return
            offer(("end", None))
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            offer(("error", error))

    reader = threading.Thread(target=read, name="hal-prefetch", daemon=True)
    reader.start()
    try:
        while True:
            kind, held = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise held
            yield held
    finally:
        stop.set()
        reader.join()
