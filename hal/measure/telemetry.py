"""Power, energy, temperature and clock of a device over a stretch of time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from hal.contract import Telemetry

__all__ = ["HardwareUse", "Sampler"]

_CLOCK_DROP = 0.1


class HardwareUse(BaseModel):
    """What a device's counters said over a stretch of time. None means unknown, never zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: float = Field(ge=0, description="Length of the stretch.")
    readings: int = Field(ge=1, description="How often the counters were read.")
    mean_power_w: float | None = Field(default=None, description="Mean power.")
    energy_j: float | None = Field(default=None, description="Energy: the device's own counter, else power over time.")
    max_temperature_c: float | None = Field(default=None, description="Highest temperature.")
    min_clock_mhz: float | None = Field(default=None, description="Lowest clock.")
    mean_clock_mhz: float | None = Field(default=None, description="Mean clock.")

    def notes(self) -> tuple[str, ...]:
        """What makes a measurement over this stretch doubtful, one sentence each."""
        low, mean = self.min_clock_mhz, self.mean_clock_mhz
        if low is not None and mean is not None and low < (1 - _CLOCK_DROP) * mean:
            return (f"the device's clock changed: lowest {low:.0f} MHz, mean {mean:.0f} MHz",)
        return ()


class _Reading(NamedTuple):
    at: float
    values: Telemetry


class Sampler:
    """Reads a device's counters in the background while a ``with`` block runs.

    Once at the start, once at the end and at every interval in between. An exception of the callable ends the
    sampling and is raised when the block is left, unless the block raises its own.

    Args:
        telemetry: what to ask, for example ``functools.partial(backend.telemetry, device)``. It is called from a
            thread of its own.
        interval_s: seconds between two readings.
        clock: seconds from any start.
    """

    def __init__(
        self,
        telemetry: Callable[[], Telemetry],
        *,
        interval_s: float = 0.1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if interval_s <= 0:
            raise ValueError(f"interval_s={interval_s} is not positive")
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: list[_Reading] = []
        self._error: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="hal-telemetry", daemon=True)

    def __enter__(self) -> Self:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is not None:
            return
        if self._error is not None:
            raise self._error
        self.sample()

    def sample(self) -> None:
        """Take one reading now, beside those of the thread."""
        with self._lock:
            self._readings.append(_Reading(self._clock(), self._telemetry()))

    def _poll(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self.sample()
            except Exception as error:  # noqa: BLE001 - a thread cannot raise; __exit__ does it for this one
                self._error = error
                return

    def result(self) -> HardwareUse:
        """What the readings so far add up to.

        Raises:
            ValueError: there are none yet.
        """
        with self._lock:
            readings = list(self._readings)
        if not readings:
            raise ValueError("there are no readings; ask for the result after the with block was entered")
        seconds = readings[-1].at - readings[0].at
        energy = _counted_energy(readings)
        if energy is None:
            energy = _integral([(r.at, r.values.power_w) for r in readings])
        powers = _known([r.values.power_w for r in readings])
        temperatures = _known([r.values.temperature_c for r in readings])
        clocks = _known([r.values.clock_mhz for r in readings])
        return HardwareUse(
            seconds=seconds,
            readings=len(readings),
            mean_power_w=energy / seconds if energy is not None and seconds > 0 else _mean(powers),
            energy_j=energy,
            max_temperature_c=max(temperatures, default=None),
            min_clock_mhz=min(clocks, default=None),
            mean_clock_mhz=_mean(clocks),
        )


def _known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _counted_energy(readings: list[_Reading]) -> float | None:
    first, last = readings[0].values.energy_j, readings[-1].values.energy_j
    # A counter that stands lower at the end was reset by the driver; one reading has no difference.
    if len(readings) < 2 or first is None or last is None or last < first:
        return None
    return last - first


def _integral(points: list[tuple[float, float | None]]) -> float | None:
    """Power over time by the trapezoid rule; None where it is unknown at an end, which nothing could stand for."""
    if len(points) < 2 or points[0][1] is None or points[-1][1] is None:
        return None
    known = [(at, power) for at, power in points if power is not None]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(known))
