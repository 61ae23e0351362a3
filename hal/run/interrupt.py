"""Turns the signals that end a process into a flag, so that a run can save before it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from hal.contract import Group

__all__ = ["Interrupt"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, name))
"""Ctrl-C, a polite kill, a terminal that is closed, a limit of processor time."""


class Interrupt:
    """While entered, the first signal sets :attr:`asked`; a second SIGINT or SIGTERM raises KeyboardInterrupt.

    Attributes:
        asked: whether a signal came to this process.
        heard: whether all processes of the run have agreed to stop; see :meth:`hear`.

    Args:
        say: called with a sentence for people when the first signal comes.
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None) -> None:
        self.asked = self.heard = False
        self._say = say
        self._before: dict[int, object] = {}

    def hear(self, group: Group) -> bool:
        """Whether to stop, which rank 0 decides for all; every process must call this at the same point."""
        self.heard = bool(group.broadcast_int(int(self.asked)))
        return self.heard

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if number in (signal.SIGINT, signal.SIGTERM):
                raise KeyboardInterrupt
            return
        self.asked = True
        self._say("stopping after this step; press Ctrl-C again to quit without saving")

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wishes
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
