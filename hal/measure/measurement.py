"""What a measurement is told and what it returns."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hal.measure.environment import Environment
from hal.measure.estimate import Estimate, Percentile, effective_size
from hal.measure.telemetry import HardwareUse

__all__ = ["Latency", "Measurement", "Settings", "Stopped"]

Stopped: TypeAlias = Literal["narrow enough", "time out", "surely slower", "enough blocks"]
"""Why a steady state ended."""

_WIDE_SPREAD = 0.1
_STALLS = 0.05
_DRIFT = 0.01
_FEWEST_EFFECTIVE = 6
_FEWEST_FOR_TRENDS = 12


class Settings(BaseModel):
    """How to measure.

    The steady state ends when it has lasted ``min_seconds``, has ``min_blocks`` and the interval is narrower than
    ``target_relative_width``; or at ``max_seconds`` or ``max_blocks``, whatever the interval then is.

    Stopping at a narrow interval costs some coverage: simulated with independent noise of 2% to 30%, the defaults cover
    92% to 95%, and as much with noise that neighboring blocks share (correlation 0.5 to 0.8).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_seconds: float = Field(default=1.0, ge=0, description="Least length of the steady state.")
    max_seconds: float = Field(
        default=10.0, gt=0, description="Longest steady state; the block that is running then is finished."
    )
    min_block_ms: float = Field(default=10.0, gt=0, description="Least time between two synchronizations.")
    min_blocks: int = Field(default=8, ge=1, description="Least number of blocks; below 6 no 95% interval exists.")
    max_blocks: int = Field(default=10_000, ge=1, description="Most blocks, which bounds the size of a record.")
    target_relative_width: float = Field(
        default=0.02, gt=0, description="Half the confidence interval over the median, at which to stop."
    )
    warmup_tolerance: float = Field(
        default=0.05, gt=0, description="Relative difference of two successive blocks that ends the warm-up."
    )
    warmup_max_seconds: float = Field(
        default=5.0, ge=0, description="Longest warm-up; the block that is running is finished."
    )
    resamples: int = Field(default=2000, ge=100, description="Number of resamples of the bootstrap.")
    seed: int = Field(default=0, ge=0, description="Seed of the bootstrap and of the order of comparisons.")

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.max_seconds < self.min_seconds:
            raise ValueError(f"max_seconds={self.max_seconds} is less than min_seconds={self.min_seconds}")
        if self.max_blocks < self.min_blocks:
            raise ValueError(f"max_blocks={self.max_blocks} is less than min_blocks={self.min_blocks}")
        return self


class Latency(BaseModel):
    """Time of single steps, each waited for. A percentile that the steps are too few for is None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50_ms: Estimate
    p95_ms: Percentile | None
    p99_ms: Percentile | None


class Measurement(BaseModel):
    """What one step function did. None means unknown, never zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    throughput: Estimate = Field(description="Throughput in samples/s in the steady state.")
    step_ms: Estimate = Field(description="Time of one step in the steady state.")
    latency: Latency | None = Field(
        default=None, description="Time of single steps, where they were waited for one by one."
    )
    samples_per_step: int = Field(ge=1)
    first_call_s: float = Field(description="The first step, which includes compilation.")
    warmup_s: float = Field(description="From the first step to the steady state.")
    warmup_settled: bool = Field(description="Whether two successive blocks agreed before the warm-up's limit.")
    steady_s: float = Field(description="Length of the steady state: the sum of its blocks.")
    blocks: int = Field(ge=1, description="Blocks in the steady state.")
    steps_per_block: int = Field(ge=1)
    stopped: Stopped = Field(description="Why the steady state ended.")
    block_ms: tuple[float, ...] = Field(description="Time of every block, in the order in which they ran.")
    peak_memory_bytes: int | None = None
    power_w: float | None = Field(default=None, description="Mean power of the device in the steady state.")
    energy_j_per_sample: float | None = Field(
        default=None, description="Energy of the device in the steady state, per sample."
    )
    hardware: HardwareUse | None = Field(default=None, description="The device's counters in the steady state.")
    environment: Environment

    @property
    def overall_samples_per_s(self) -> float:
        """All samples over all time; below the throughput's median where a few blocks stalled."""
        return self.samples_per_step * self.steps_per_block * self.blocks / self.steady_s

    def notes(self) -> tuple[str, ...]:
        """What makes these numbers doubtful, one sentence each: the machine, the device, and the blocks themselves."""
        found = list(self.environment.notes())
        if self.hardware is not None:
            found += self.hardware.notes()
        if not self.warmup_settled:
            found.append("the warm-up ended at its time limit, before two successive blocks agreed")
        if not self.step_ms.covers:
            found.append(f"{self.blocks} blocks are too few for a 95% interval; allow more time")
        found += self._spread_notes()
        return tuple(found)

    def _spread_notes(self) -> list[str]:
        found = []
        times = np.asarray(self.block_ms)
        lower, median, upper = np.quantile(times, [0.25, 0.5, 0.75])
        # Single steps scatter by nature; their percentiles say so better.
        if self.latency is None and upper - lower > _WIDE_SPREAD * median:
            found.append(
                f"block times spread widely: their interquartile range is {(upper - lower) / median:.0%} of the median"
            )
        if self.overall_samples_per_s < (1 - _STALLS) * self.throughput.median:
            found.append(f"some blocks stalled: overall {self.overall_samples_per_s:,.4g} samples/s, below the median")
        if self.blocks >= _FEWEST_FOR_TRENDS:
            early = Estimate.of(times[: self.blocks // 2], unit="ms", in_time_order=True)
            late = Estimate.of(times[self.blocks // 2 :], unit="ms", in_time_order=True)
            change = late.median / early.median - 1
            effective = effective_size(times)
            if abs(change) > _DRIFT and (early.surely_below(late) or late.surely_below(early)):
                found.append(f"steps drifted: in the second half they took {change:+.1%} compared with the first")
            elif effective < _FEWEST_EFFECTIVE:
                found.append(f"blocks are correlated: {self.blocks} blocks give only {effective} effective samples")
        return found

    def __str__(self) -> str:
        return f"{self.throughput}; step {self.step_ms}; first call {self.first_call_s:.3g} s; {self.stopped}"
