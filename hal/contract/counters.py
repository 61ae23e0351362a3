"""What a backend reads of a device while it works: memory and the counters of the hardware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Load", "MemoryUse", "Telemetry", "Throttle"]

Throttle = Literal["power cap", "power brake", "thermal", "clock setting", "sync boost", "hardware slowdown"]
"""Why a device runs below its highest clock, other than having nothing to do."""


@dataclass(frozen=True)
class MemoryUse:
    """Memory that the framework holds on a device, in bytes; None where the framework does not count it."""

    allocated_bytes: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Telemetry:
    """Counters of the hardware at one moment. None means unknown, never zero.

    Attributes:
        power_w: power now.
        temperature_c: the hottest sensor that stands for the device.
        clock_mhz: clock of the compute units.
        memory_used_bytes: memory in use, by all processes.
        energy_j: counts up from an arbitrary start; differences between two readings mean something.
        clock_max_mhz: the highest clock that the device may reach.
        memory_clock_mhz: clock of the memory.
        memory_clock_max_mhz: the highest clock of the memory.
        throttle: what holds the clock down now; empty: nothing does.
        power_limit_w: the cap that holds now.
        power_limit_default_w: the cap that the device was delivered with.
        power_limit_range_w: the lowest and the highest cap that may be set.
        link_generation: generation of the PCIe link as it runs now; it falls while a device is idle.
        link_width: lanes of that link.
        link_max_generation: the highest generation of the device.
        link_max_width: lanes of the device.
        fan_percent: speed of the fastest fan; unknown where there is none.
        ecc: whether the memory corrects errors.
        ecc_errors: errors that could not be corrected, since the driver was loaded.
        busy_percent: share of the last moments in which anything ran on it.
        others: processes other than this one that hold memory on it.
        is_slice: whether it is a slice of a card that others use too.
    """

    power_w: float | None = None
    temperature_c: float | None = None
    clock_mhz: float | None = None
    memory_used_bytes: int | None = None
    energy_j: float | None = None
    clock_max_mhz: float | None = None
    memory_clock_mhz: float | None = None
    memory_clock_max_mhz: float | None = None
    throttle: tuple[Throttle, ...] | None = None
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    power_limit_range_w: tuple[float, float] | None = None
    link_generation: int | None = None
    link_width: int | None = None
    link_max_generation: int | None = None
    link_max_width: int | None = None
    fan_percent: float | None = None
    ecc: bool | None = None
    ecc_errors: int | None = None
    busy_percent: float | None = None
    others: int | None = None
    is_slice: bool | None = None


@dataclass(frozen=True)
class Load:
    """Work that a device can be measured with.

    Attributes:
        name: ``int8`` or ``fp8`` for products; ``to device, pinned`` or ``from device, pinned`` for copies.
        run: starts it once; it may return before the device has finished.
        flops: operations of one run; 0 for copies.
        bytes: bytes that one run moves; 0 for products.
    """

    name: str
    run: Callable[[], object]
    flops: float = 0.0
    bytes: float = 0.0
