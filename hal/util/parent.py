"""Ends a process whose parent is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_POLL_S = 1.0


def die_with_parent() -> None:
    """End this process when its parent ends, however that comes about.

    Linux sends a signal, which reaches a process that is stuck in native code too; a thread asks on other systems.
    """
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        os._exit(0)

    threading.Thread(target=watch, name="hal-parent", daemon=True).start()
