"""Energy and power from RAPL, temperature, clock and memory of the host's processor; all from files of the kernel.

RAPL (running average power limit) counts the energy of each processor package. Since 2020 the kernel shows it to root
alone; without permission it is None.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from hal.contract import Telemetry

__all__ = ["CpuReader"]

_POWERCAP = Path("/sys/class/powercap")
# Drivers of processor temperature sensors, and of each the reading that stands for the whole package.
_SENSORS: Mapping[str, tuple[str, ...]] = {
    "coretemp": ("Package id 0",),
    "k10temp": ("Tctl", "Tdie"),
    "zenpower": ("Tdie", "Tctl"),
    "cpu_thermal": ("",),
}


class CpuReader:
    """Reads the processor's counters; what the machine does not show is None.

    Energy counts from the first reading on and follows one wraparound between two readings (a package at full power
    wraps after some ten minutes). Power is the average since the reading before.

    Args:
        powercap: folder of the kernel's power capping framework.
        temperatures: returns sensors as ``psutil.sensors_temperatures`` does.
        frequency: returns the clock as ``psutil.cpu_freq`` does.
        memory: returns memory as ``psutil.virtual_memory`` does.
        clock: returns seconds.
    """

    def __init__(
        self,
        powercap: Path = _POWERCAP,
        temperatures: Callable[[], Mapping[str, Sequence[Any]]] | None = None,
        frequency: Callable[[], Any] | None = None,
        memory: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._powercap = powercap
        # psutil has these two on some systems alone.
        read_temperatures: Callable[[], Mapping[str, Sequence[Any]]] = getattr(psutil, "sensors_temperatures", dict)
        read_frequency: Callable[[], Any] = getattr(psutil, "cpu_freq", lambda: None)
        self._temperatures = temperatures or read_temperatures
        self._frequency = frequency or read_frequency
        self._memory = memory or psutil.virtual_memory
        self._clock = clock
        self._lock = threading.Lock()
        self._raw_uj: dict[Path, int] = {}
        self._total_uj = 0
        self._read_at: float | None = None

    def read(self) -> Telemetry:
        """Counters now."""
        power_w, energy_j = self._power_and_energy()
        memory = self._memory()
        return Telemetry(
            power_w=power_w,
            temperature_c=self._temperature(),
            clock_mhz=self._clock_mhz(),
            memory_used_bytes=int(memory.total - memory.available),
            energy_j=energy_j,
            clock_max_mhz=self._clock_mhz("max"),
        )

    def _power_and_energy(self) -> tuple[float | None, float | None]:
        with self._lock:
            raw = self._packages()
            now = self._clock()
            if not raw or (self._raw_uj and raw.keys() != self._raw_uj.keys()):
                # Energy of a package that came or went would look like work done.
                self._raw_uj, self._read_at = {}, None
                return None, None
            used_uj = sum(self._used(path, value) for path, value in raw.items() if path in self._raw_uj)
            elapsed_s = None if self._read_at is None else now - self._read_at
            self._raw_uj, self._read_at = raw, now
            self._total_uj += used_uj
            return (used_uj / 1e6 / elapsed_s if elapsed_s else None), self._total_uj / 1e6

    def _packages(self) -> dict[Path, int]:
        """Raw counters of all processor packages in microjoules; empty if any of them cannot be read."""
        # Not psys, which contains the packages, nor core and dram, which are parts; intel-rapl-mmio repeats them.
        domains = sorted(self._powercap.glob("intel-rapl:*"))
        packages = [path for path in domains if _text(path / "name").startswith("package")]
        values = {path: _integer(path / "energy_uj") for path in packages}
        known = {path: value for path, value in values.items() if value is not None}
        return known if len(known) == len(values) else {}

    def _used(self, path: Path, value: int) -> int:
        before = self._raw_uj[path]
        if value >= before:
            return value - before
        limit = _integer(path / "max_energy_range_uj")
        return value if limit is None else limit - before + value

    def _temperature(self) -> float | None:
        try:
            sensors = self._temperatures()
        except OSError:
            return None
        for driver, labels in _SENSORS.items():
            readings = {entry.label: entry.current for entry in sensors.get(driver, ())}
            for label in labels:
                if readings.get(label):
                    return float(readings[label])
        return None

    def _clock_mhz(self, which: str = "current") -> float | None:
        try:
            frequency = self._frequency()
        except (OSError, NotImplementedError, RuntimeError):
            return None
        found = getattr(frequency, which, None)
        return float(found) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _integer(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
