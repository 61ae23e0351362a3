"""Measures work on a device, and sees what else runs on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hal.cards.certificate import Figure, Steady
from hal.cards.reasons import BUSY_SHARE
from hal.cards.work import Work
from hal.contract import Backend, Telemetry
from hal.contract.device import Device
from hal.measure import Estimate, Sampler, Settings, measure, on_host

__all__ = ["Measured", "Meter"]

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

        What other processes took is told with the figure and is not taken out of it: threads that wait for one that
        lost its core spin, so the processor time of a run on a busy machine is not that of one on a quiet machine.
        """
        settings = Settings(
            min_seconds=seconds / 2, max_seconds=seconds, warmup_max_seconds=seconds / 4, target_relative_width=0.01
        )
        with self.backend.settings(work.plan, self.device):
            found = measure(
                work.run,
                lambda: self.backend.synchronize(self.device),
                samples_per_step=max(1, work.count),
                settings=settings,
                telemetry=self.telemetry,
            )
        others = found.environment.taken_cores
        loaded = self.on_host and others > BUSY_SHARE * found.environment.cpu_threads
        figure = _figure(work, found.step_ms, loaded)
        if found.energy_j_per_sample is not None:
            energy = found.energy_j_per_sample
            figure = figure.model_copy(
                update={
                    "joules": energy * max(1, work.count),
                    "joules_per_sample": energy if work.group == "model" else None,
                }
            )
        return Measured(figure, others)

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


def _figure(work: Work, step_ms: Estimate, loaded: bool) -> Figure:
    unit, of = _unit(work)
    low, high = sorted((of(step_ms.low), of(step_ms.high)))
    return Figure(
        name=work.name,
        group=work.group,
        precision=work.precision,
        size=work.size,
        unit=unit,
        median=of(step_ms.median),
        low=low,
        high=high,
        loaded=loaded,
    )


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
