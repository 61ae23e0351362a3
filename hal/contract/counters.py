"""What a backend reads of a device while it works: memory and the counters of the hardware."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MemoryUse", "Telemetry"]


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
