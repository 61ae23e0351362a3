"""The machine that a measurement ran on, and what else happened on it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Self

import psutil
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from hal import __version__
from hal.contract.device import Device
from hal.util.systems import processor_name

__all__ = ["Environment", "EnvironmentWatch", "on_host"]

_COUNTER_SECONDS = 0.5
"""Shorter spans say nothing about the use of processors: the system counts in hundredths of a second."""

_CLOCK_CHANGE = 0.1
_OTHERS_SHARE = 0.1
_OTHERS_CORES = 0.25
_STOLEN_SHARE = 0.05


class Environment(BaseModel):
    """Facts about the host around a measurement. None means unknown, never zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpu_model: str = Field(description="Processor, as it names itself.")
    cpu_cores: int | None = Field(description="Physical cores of the host.")
    cpu_threads: int = Field(ge=1, description="Hardware threads that this process may use.")
    memory_bytes: int = Field(description="Main memory of the host.")
    operating_system: str = Field(description="Kernel and distribution.")
    python: str = Field(description="Implementation and version.")
    hal_version: str = Field(description="Version of hal.")
    versions: dict[str, str] = Field(description="Versions of what the backend runs on.")
    timestamp: AwareDatetime = Field(description="When the measurement began, UTC.")
    load_1min_start: float | None = Field(default=None, description="Load average of the last minute, at the start.")
    load_1min_end: float | None = Field(default=None, description="Load average of the last minute, at the end.")
    cpu_clock_start_mhz: float | None = Field(default=None, description="Mean processor clock at the start.")
    cpu_clock_end_mhz: float | None = Field(default=None, description="Mean processor clock at the end.")
    others_cores: float | None = Field(
        default=None, description="Mean number of cores that processes other than this one and its children kept busy."
    )
    stolen_cores: float | None = Field(
        default=None, description="Mean number of cores that the hypervisor gave to other guests."
    )

    @classmethod
    def read(cls, versions: Mapping[str, str] | None = None) -> Self:
        """Read what can be read now; the fields about an end stay None.

        Args:
            versions: names and versions of what the backend runs on, as ``Backend.versions`` gives them.
        """
        return cls(
            cpu_model=_cpu_model(),
            cpu_cores=psutil.cpu_count(logical=False),
            cpu_threads=_usable_threads(),
            memory_bytes=psutil.virtual_memory().total,
            operating_system=platform.platform(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            hal_version=__version__,
            versions=dict(versions or {}),
            timestamp=datetime.now(UTC),
            load_1min_start=_load(),
            cpu_clock_start_mhz=_cpu_clock(),
        )

    @property
    def disturbed(self) -> bool:
        """Whether others took processor time meanwhile, as far as that was counted."""
        return bool(self._taken())

    @property
    def taken_cores(self) -> float:
        """Cores that others are known to have kept busy, or to have got from the hypervisor."""
        return (self.others_cores or 0.0) + (self.stolen_cores or 0.0)

    def _taken(self) -> list[str]:
        found = []
        if self.others_cores is not None and self.others_cores > max(_OTHERS_CORES, _OTHERS_SHARE * self.cpu_threads):
            found.append(f"other processes kept {self.others_cores:.1f} cores busy")
        if self.stolen_cores is not None and self.stolen_cores > _STOLEN_SHARE * self.cpu_threads:
            found.append(f"the hypervisor took {self.stolen_cores:.2f} cores away")
        return found

    def notes(self) -> tuple[str, ...]:
        """What made the machine noisy, one sentence each; empty where nothing was seen."""
        found = []
        load = max((x for x in (self.load_1min_start, self.load_1min_end) if x is not None), default=0.0)
        if load > self.cpu_threads:
            found.append(f"load average {load:.1f} is above the {self.cpu_threads} hardware threads")
        found += self._taken()
        start, end = self.cpu_clock_start_mhz, self.cpu_clock_end_mhz
        if start and end and abs(end - start) > _CLOCK_CHANGE * start:
            found.append(f"the processor's clock changed from {start:.0f} to {end:.0f} MHz")
        return tuple(found)


class EnvironmentWatch:
    """Reads the environment when made, and once more at :meth:`stop`."""

    def __init__(self, versions: Mapping[str, str] | None = None) -> None:
        self._start = Environment.read(versions)
        self._counted = _Counters.read()

    def stop(self) -> Environment:
        """The environment with what happened since this watch was made."""
        now = _Counters.read()
        seconds = now.seconds - self._counted.seconds
        others = stolen = None
        if seconds >= _COUNTER_SECONDS:
            busy = (now.busy_s - self._counted.busy_s) - (now.own_s - self._counted.own_s)
            # A child that ended unwaited takes its seconds out of ours: below zero means none, not fewer than none.
            others = max(0.0, busy / seconds)
            stolen = max(0.0, (now.stolen_s - self._counted.stolen_s) / seconds)
        return self._start.model_copy(
            update={
                "load_1min_end": _load(),
                "cpu_clock_end_mhz": _cpu_clock(),
                "others_cores": others,
                "stolen_cores": stolen,
            }
        )


def on_host(device: Device) -> bool:
    """Whether a device is the host's processor: it computes in the host's memory, on cores that others share."""
    return device.name == _cpu_model()


class _Counters(NamedTuple):
    """Seconds of processor time since boot, and a clock that goes with them."""

    seconds: float
    busy_s: float
    own_s: float
    stolen_s: float

    @classmethod
    def read(cls) -> _Counters:
        # The names of the fields differ between systems; guest time is counted within user time on Linux.
        system = psutil.cpu_times()._asdict()
        idle = {"idle", "iowait", "steal", "guest", "guest_nice"}
        return cls(
            seconds=time.monotonic(),
            busy_s=sum(value for name, value in system.items() if name not in idle),
            own_s=_own_seconds(),
            stolen_s=system.get("steal", 0.0),
        )


def _own_seconds() -> float:
    process = psutil.Process()
    mine = process.cpu_times()
    seconds = mine.user + mine.system + mine.children_user + mine.children_system
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it ended between being listed and being asked
            continue
        seconds += times.user + times.system
    return float(seconds)


def _cpu_model() -> str:
    return processor_name() or platform.processor() or platform.machine() or "unknown"


def _usable_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def _cpu_clock() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (
        AttributeError,
        NotImplementedError,
        OSError,
        RuntimeError,
    ):  # psutil's ways to say that the system has no such file
        return None
    return frequency.current if frequency is not None and frequency.current > 0 else None
