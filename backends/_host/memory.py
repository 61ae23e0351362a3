"""Memory of this process as Linux counts it; unknown elsewhere."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hal.contract import MemoryUse

__all__ = ["forget_peak", "resident_memory"]

_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"  # proc(5): resets the peak resident set size


def resident_memory(process: Path = _PROCESS) -> MemoryUse:
    """What the process holds in main memory, and the most since :func:`forget_peak`.

    Args:
        process: its folder in procfs.
    """
    try:
        lines = (process / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return MemoryUse()
    found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return MemoryUse(_kib(found.get("VmRSS")), _kib(found.get("VmHWM")))


def forget_peak(process: Path = _PROCESS) -> None:
    """Start a new peak, where the kernel allows it."""
    with contextlib.suppress(OSError):
        (process / "clear_refs").write_text(_FORGET_PEAK, encoding="ascii")


def _kib(words: list[str] | None) -> int | None:
    return int(words[0]) * 1024 if words and words[0].isdigit() else None
