"""Time one step function: first call, warm-up and steady state apart."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping

import numpy as np

from hal.contract import Telemetry
from hal.measure._blocks import BlockTimer, Looks, warm_up
from hal.measure.environment import EnvironmentWatch
from hal.measure.estimate import Estimate, Percentile
from hal.measure.measurement import Latency, Measurement, Settings, Stopped
from hal.measure.telemetry import Sampler

__all__ = ["measure"]

_LATENCY_STEPS = 100
"""Least number of single steps, where time allows: the 99th percentile of fewer is unknown."""


def measure(
    step: Callable[[], object],
    synchronize: Callable[[], None],
    *,
    samples_per_step: int,
    settings: Settings | None = None,
    beat: Estimate | None = None,
    latency: bool = False,
    telemetry: Callable[[], Telemetry] | None = None,
    peak_memory: Callable[[], int | None] | None = None,
    versions: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Time a step function.

    The first call, which includes compilation, and the warm-up are timed apart. The steady state is timed in blocks
    of whole steps with a synchronization before and after each; its median and interval are those of the blocks.

    Args:
        step: starts one step, its data path included; it may return before the device has finished.
        synchronize: waits until the device has finished.
        samples_per_step: samples that one step processes.
        settings: how long and how precisely; the defaults if None.
        beat: the throughput of an incumbent; after ``min_seconds``, the measurement stops as soon as this one is
            surely slower.
        latency: wait for every step and report the percentiles of their times.
        telemetry: reads the device's counters, for power and energy; called from another thread.
        peak_memory: reads the peak memory in bytes, once, at the end. Whoever passes it has reset the peak before.
        versions: of what the backend runs on, for the environment.
        clock: seconds from any start.

    Returns:
        The numbers with their uncertainty. Read :meth:`Measurement.notes` before believing them.

    Raises:
        ValueError: samples_per_step is not positive, beat is not in samples/s, or the clock does not advance.
        Exception: whatever step and synchronize raise.
    """
    settings = settings or Settings()
    if samples_per_step < 1:
        raise ValueError(f"samples_per_step={samples_per_step} is not positive")
    if beat is not None and beat.unit != "samples/s":
        raise ValueError(f"beat is in {beat.unit}; pass a throughput in samples/s")
    timer = BlockTimer(step, synchronize, clock, each=latency)
    first_call_s = timer.block(1)
    warm = warm_up(timer, settings)
    steps = 1 if latency else warm.steps_per_block(settings)

    watch = EnvironmentWatch(versions)
    with contextlib.ExitStack() as stack:
        sampler = None if telemetry is None else stack.enter_context(Sampler(telemetry, clock=clock))
        step_ms, stopped = _steady_state(
            timer, steps, samples_per_step=samples_per_step, settings=settings, beat=beat, latency=latency, clock=clock
        )
    hardware = None if sampler is None else sampler.result()
    environment = watch.stop()

    estimate = Estimate.of(step_ms, unit="ms", in_time_order=True, resamples=settings.resamples, seed=settings.seed)
    samples = samples_per_step * steps * len(step_ms)
    energy = None if hardware is None else hardware.energy_j
    return Measurement(
        throughput=estimate.throughput(samples_per_step),
        step_ms=estimate,
        latency=_latency(step_ms, estimate, settings) if latency else None,
        samples_per_step=samples_per_step,
        first_call_s=first_call_s,
        warmup_s=warm.seconds,
        warmup_settled=warm.settled,
        steady_s=float(np.sum(step_ms)) * steps / 1000,
        blocks=len(step_ms),
        steps_per_block=steps,
        stopped=stopped,
        block_ms=tuple(steps * x for x in step_ms),
        peak_memory_bytes=None if peak_memory is None else peak_memory(),
        power_w=None if hardware is None else hardware.mean_power_w,
        energy_j_per_sample=None if energy is None else energy / samples,
        hardware=hardware,
        environment=environment,
    )


def _steady_state(
    timer: BlockTimer,
    steps: int,
    *,
    samples_per_step: int,
    settings: Settings,
    beat: Estimate | None,
    latency: bool,
    clock: Callable[[], float],
) -> tuple[list[float], Stopped]:
    """Milliseconds of a step, one value a block, and why they ended."""
    least = max(settings.min_blocks, min(_LATENCY_STEPS, settings.max_blocks)) if latency else settings.min_blocks
    looks = Looks(least)
    step_ms: list[float] = []
    start = clock()
    while True:
        took = timer.block(steps)
        if took <= 0:
            raise ValueError(f"the clock did not advance during {steps} steps; pass a clock that does")
        step_ms.append(1000 * took / steps)
        elapsed = clock() - start
        lasted = elapsed >= settings.min_seconds
        if lasted and beat is not None and _hopeless(step_ms, samples_per_step, beat):
            return step_ms, "surely slower"
        if looks.due(len(step_ms)) and lasted:
            now = Estimate.of(step_ms, unit="ms", in_time_order=True, resamples=settings.resamples, seed=settings.seed)
            if beat is not None and now.throughput(samples_per_step).surely_below(beat):
                return step_ms, "surely slower"
            if now.relative_half_width <= settings.target_relative_width:
                return step_ms, "narrow enough"
        if elapsed >= settings.max_seconds:
            return step_ms, "time out"
        if len(step_ms) >= settings.max_blocks:
            return step_ms, "enough blocks"


def _hopeless(step_ms: list[float], samples_per_step: int, beat: Estimate) -> bool:
    """Whether even the best block is far behind: by half for one block, a third for two, and so on.

    Slow steps give too few blocks for an interval, and what disturbs blocks does not slow several in a row as much.
    """
    best = 1000 * samples_per_step / min(step_ms)
    return best < beat.low * len(step_ms) / (1 + len(step_ms))


def _latency(step_ms: list[float], p50_ms: Estimate, settings: Settings) -> Latency:
    return Latency(
        p50_ms=p50_ms,
        p95_ms=Percentile.of(
            step_ms, "p95", unit="ms", in_time_order=True, resamples=settings.resamples, seed=settings.seed
        ),
        p99_ms=Percentile.of(
            step_ms, "p99", unit="ms", in_time_order=True, resamples=settings.resamples, seed=settings.seed
        ),
    )
