"""What differs between operating systems: macOS says by sysctl what Linux has in files, and Windows is refused."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from hal.errors import RequestError

__all__ = ["on_macos", "processor_name", "refuse_windows"]

_CPUINFO = Path("/proc/cpuinfo")
_SYSCTL = "/usr/sbin/sysctl"
_TIMEOUT_S = 5.0


def on_macos() -> bool:
    """Whether this is macOS."""
    return sys.platform == "darwin"


def refuse_windows() -> None:
    """Nothing, unless this is Windows.

    Raises:
        RequestError: it is; says what runs hal there.
    """
    if sys.platform == "win32":
        raise RequestError(
            "hal runs on Linux and macOS; on Windows it runs within WSL2, the Windows Subsystem for Linux, which can "
            "use the GPU",
            fix="in a terminal, run: wsl --install, then install hal in the Linux that this starts",
        )


@functools.cache
def processor_name() -> str:
    """What the processor calls itself; empty where the system does not tell."""
    if on_macos():
        return _sysctl("machdep.cpu.brand_string")
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == "model name" and value.strip()), "")


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run([_SYSCTL, "-n", name], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
