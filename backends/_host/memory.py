"""Memory of this process as the system counts it: Linux in files, macOS by getrusage; unknown elsewhere."""

from __future__ import annotations

import contextlib
import resource
import threading
from pathlib import Path

import psutil

from hal.contract import MemoryUse
from hal.util.systems import on_macos

__all__ = ["forget_peak", "resident_memory"]

_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"  # proc(5): resets the peak resident set size


class _MacPeak:
    """The peak of the process on macOS, which nothing resets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before = 0

    def read(self) -> int | None:
        """The peak since :meth:`forget`; None while it is below that of before."""
        with self._lock:
            peak = self._of_process()
            return peak if peak > self._before else None

    def forget(self) -> None:
        """Start a new peak."""
        with self._lock:
            self._before = self._of_process()

    @staticmethod
    def _of_process() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes here; other systems count in KiB


_mac_peak = _MacPeak()


def resident_memory(process: Path = _PROCESS) -> MemoryUse:
    """What the process holds in main memory, and the most since :func:`forget_peak`.

    On macOS the peak is unknown until it exceeds the last one.

    Args:
        process: its folder in procfs, where the system is Linux.
    """
    if on_macos():
        return MemoryUse(psutil.Process().memory_info().rss, _mac_peak.read())
    try:
        lines = (process / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return MemoryUse()
    found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return MemoryUse(_kib(found.get("VmRSS")), _kib(found.get("VmHWM")))


def forget_peak(process: Path = _PROCESS) -> None:
    """Start a new peak, where the system allows it."""
    if on_macos():
        _mac_peak.forget()
        return
    with contextlib.suppress(OSError):
        (process / "clear_refs").write_text(_FORGET_PEAK, encoding="ascii")


def _kib(words: list[str] | None) -> int | None:
    return int(words[0]) * 1024 if words and words[0].isdigit() else None
