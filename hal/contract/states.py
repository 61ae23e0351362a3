"""What a backend says of itself and of the hardware: whether it can run here, memory, counters."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Available", "MemoryUse", "Telemetry", "Unavailable"]


@dataclass(frozen=True)
class Available:
    """A backend that can run here. ``detail`` names the runtime, for example ``torch 2.13.0+cpu``."""

    detail: str


@dataclass(frozen=True)
class Unavailable:
    """A backend that cannot run here.

    Attributes:
        reason: what is installed and what is missing.
        fix: the command or page that makes it available.
    """

    reason: str
    fix: str


@dataclass(frozen=True)
class MemoryUse:
    """Memory that the framework holds on a device, in bytes; None where the framework does not count it."""

    allocated_bytes: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Telemetry:
    """Counters of the hardware at one moment. None means unknown, never zero.

    ``energy_j`` counts up from an arbitrary start; differences between two readings mean something.
    """

    power_w: float | None = None
    temperature_c: float | None = None
    clock_mhz: float | None = None
    memory_used_bytes: int | None = None
    energy_j: float | None = None
