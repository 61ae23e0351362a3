"""Measures work on a device, and corrects for what else runs on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from hal.cards.certificate import Figure, Steady
from hal.cards.work import Work, on_host
from hal.contract import Backend, Telemetry
from hal.contract.device import Device
from hal.measure import Estimate, Sampler, Settings, measure

__all__ = ["Measured", "Meter"]

_BUSY_CORES = 0.15
"""Share of the cores that others must take before a figure is corrected for them."""

_BLOCK_S = 0.1


@dataclass(frozen=True)
class Measured:
    """One figure and what was seen meanwhile."""

    figure: Figure
    others_cores: float


@dataclass
class Meter:
    """Measures one work after the other on one device, and keeps every reading of its counters.

    Attributes:
        backend: drives the device.
        device: what is measured.
        readings: of the device's counters, under load.
    """

    backend: Backend
    device: Device
    readings: list[Telemetry] = field(default_factory=list)

    def telemetry(self) -> Telemetry:
        """The counters now, which are kept."""
        found = self.backend.telemetry(self.device)
        self.readings.append(found)
        return found

    @property
    def on_host(self) -> bool:
        """Whether the device is the host's processor, whose cores other processes share."""
        return on_host(self.device)

    def measure(self, work: Work, seconds: float) -> Measured:
        """A figure with its interval.

        On the host's processor, time that others took is taken out of products, which use every core: a run is charged
        with the processor time that its threads got, not with what went by on the clock. Other work may use one thread
        or wait for memory, so the share of all cores that it got says nothing about it, and it is left by the clock.
        """
        settings = Settings(
            min_seconds=seconds / 2, max_seconds=seconds, warmup_max_seconds=seconds / 4, target_relative_width=0.01
        )
        with self.backend.settings(work.plan, self.device):
            clock = _Clock()
            found = measure(
                work.run,
                lambda: self.backend.synchronize(self.device),
                samples_per_step=max(1, work.count),
                settings=settings,
                telemetry=self.telemetry,
            )
            own_cores = clock.own_cores()
        others = found.environment.taken_cores
        share = 1.0
        if work.group == "product" and self.on_host and others > _BUSY_CORES * found.environment.cpu_threads:
            threads = min(work.plan.threads or found.environment.cpu_threads, found.environment.cpu_threads)
            share = min(1.0, max(own_cores / threads, 0.05)) if threads else 1.0
        figure = self._figure(work, found.step_ms, share)
        if found.energy_j_per_sample is not None:
            energy = found.energy_j_per_sample
            figure = figure.model_copy(
                update={
                    "joules": energy * max(1, work.count),
                    "joules_per_sample": energy if work.group == "model" else None,
                }
            )
        return Measured(figure, others)

    def _figure(self, work: Work, step_ms: Estimate, share: float) -> Figure:
        unit, of = _unit(work)
        median, low, high = of(step_ms.median), of(step_ms.high), of(step_ms.low)
        low, high = sorted((low / share, high / share))
        return Figure(
            name=work.name,
            group=work.group,
            precision=work.precision,
            size=work.size,
            unit=unit,
            median=median / share,
            low=low,
            high=high,
            by_wall_clock=median if share < 1 else None,
        )

    def steady(self, work: Work, seconds: float) -> Steady:
        """The same work without a pause: how the speed at the end compares with that at the start."""
        rates: list[float] = []
        with self.backend.settings(work.plan, self.device), Sampler(self.telemetry, interval_s=0.2) as sampler:
            runs = 1
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(rates) < 4:
                start = time.perf_counter()
                for _ in range(runs):
                    work.run()
                self.backend.synchronize(self.device)
                took = time.perf_counter() - start
                rates.append(runs * work.flops / took / 1e12)
                runs = max(1, min(4 * runs, round(runs * _BLOCK_S / took)))
        quarter = max(1, len(rates) // 4)
        return Steady(
            seconds=seconds,
            first=_median(rates[:quarter]),
            last=_median(rates[-quarter:]),
            hardware=sampler.result(),
        )


class _Clock:
    """Processor time of this process against the clock."""

    def __init__(self) -> None:
        self._wall, self._own = time.perf_counter(), _own_seconds()

    def own_cores(self) -> float:
        """Cores that this process used on average since this clock was made."""
        wall = time.perf_counter() - self._wall
        return (_own_seconds() - self._own) / wall if wall > 0 else 0.0


def _own_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _unit(work: Work) -> tuple[str, Callable[[float], float]]:
    """The unit of a figure, and how it follows from the milliseconds of a run."""
    if work.group == "launch":
        return "us", lambda ms: 1000 * ms / work.count
    if work.bytes:
        return "GB/s", lambda ms: work.bytes / ms / 1e6
    return "TFLOP/s", lambda ms: work.flops / ms / 1e9


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
