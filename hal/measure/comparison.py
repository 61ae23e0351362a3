"""Time several step functions in turn on the same machine, and their ratios with the spread of those."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hal.measure._blocks import BlockTimer, Looks, WarmUp, warm_up
from hal.measure.environment import Environment, EnvironmentWatch
from hal.measure.estimate import Estimate
from hal.measure.measurement import Measurement, Settings, Stopped

__all__ = ["Candidate", "Comparison", "compare", "paired_ratio"]


_LONGER = 4
"""How much longer than it need be a block may become for having as many steps as the others."""


class Candidate(NamedTuple):
    """One of several things to compare: the first three arguments of :func:`hal.measure.measure`."""

    step: Callable[[], object]
    synchronize: Callable[[], None]
    samples_per_step: int


class Comparison(BaseModel):
    """Several step functions, timed in turn. A ratio above 1 means more samples per second than the baseline.

    The ratios are medians over rounds: what slows the whole machine for a while cancels in them, but not in the
    measurements. Each interval is a 95% one by itself; of twenty candidates that are all equal, one will look better or
    worse.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str = Field(description="Name of the candidate that the others are divided by.")
    measurements: dict[str, Measurement] = Field(description="One for each candidate, in the order given.")
    ratios: dict[str, Estimate] = Field(description="Throughput over the baseline's; the baseline itself is 1.")

    def verdict(self, name: str) -> Literal["faster", "slower", "no difference shown"]:
        """What the ratio's interval says; "no difference shown" is not "equal"."""
        ratio = self.ratios[name]
        if ratio.covers and ratio.low > 1:
            return "faster"
        if ratio.covers and ratio.high < 1:
            return "slower"
        return "no difference shown"

    def notes(self) -> tuple[str, ...]:
        """What makes these numbers doubtful, each with the candidates it was seen in."""
        seen: dict[str, list[str]] = {}
        for name, measurement in self.measurements.items():
            for note in measurement.notes():
                seen.setdefault(note, []).append(name)
        return tuple(
            note if len(names) == len(self.measurements) else f"{', '.join(names)}: {note}"
            for note, names in seen.items()
        )

    def __str__(self) -> str:
        width = max(map(len, self.measurements))
        return "\n".join(
            f"{name:<{width}}  {measurement.throughput}"
            + ("  (baseline)" if name == self.baseline else f"  {self.ratios[name]}, {self.verdict(name)}")
            for name, measurement in self.measurements.items()
        )


def compare(
    candidates: Mapping[str, Candidate | tuple[Callable[[], object], Callable[[], None], int]],
    *,
    baseline: str,
    settings: Settings | None = None,
    versions: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time step functions in turn: rounds of one block each, in an order drawn anew for every round.

    Each candidate has its first call and warm-up before the rounds begin. All blocks have as many steps as the quickest
    candidate needs, but for candidates that are over four times slower: on a busy machine the length of a block decides
    how often it is interrupted, and blocks of different lengths made equal candidates look different.

    In a round, a candidate whose blocks have several steps runs one that is not timed before its block, so that it does
    not pay for the caches that its predecessor has left behind; where a block is a single step, that step is long
    enough not to matter.

    Rounds end when every ratio's interval is narrow enough. ``min_seconds`` holds for each candidate's blocks,
    ``max_seconds`` for each candidate's share of the rounds.

    Args:
        candidates: a step, its synchronization and its samples per step, by name.
        baseline: the name that ratios refer to.
        settings: as for :func:`hal.measure.measure`; ``target_relative_width`` applies to the ratios.
        versions: of what the candidates run on, for the environment.
        clock: seconds from any start.

    Returns:
        A measurement for each candidate, without power and memory, which cannot be told apart within one process, and
        the ratios.

    Raises:
        ValueError: fewer than two candidates, a baseline that is not among them, samples_per_step that is not
            positive, or a clock that does not advance.
        Exception: whatever a candidate raises.
    """
    settings = settings or Settings()
    named = {name: Candidate(*candidate) for name, candidate in candidates.items()}
    if len(named) < 2:
        raise ValueError("a comparison needs two or more candidates; for a single one, use measure")
    if baseline not in named:
        raise ValueError(f"baseline={baseline} is not a candidate; choose one of {', '.join(named)}")
    for name, candidate in named.items():
        if candidate.samples_per_step < 1:
            raise ValueError(f"samples_per_step={candidate.samples_per_step} of {name} is not positive")
    prepared = {name: _Prepared(candidate, settings, clock) for name, candidate in named.items()}
    most = max(each.steps for each in prepared.values())
    for each in prepared.values():
        if most <= _LONGER * each.steps:
            each.steps = most
    watch = EnvironmentWatch(versions)
    stopped = _rounds(prepared, baseline, settings, clock)
    environment = watch.stop()
    return Comparison(
        baseline=baseline,
        measurements={name: each.measurement(settings, stopped, environment) for name, each in prepared.items()},
        ratios={name: _ratio(each, prepared[baseline], settings) for name, each in prepared.items()},
    )


def paired_ratio(
    step_ms: Sequence[float],
    baseline_step_ms: Sequence[float],
    *,
    samples: float,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The ratio of two throughputs within each round; above 1, the candidate is faster than the baseline.

    Args:
        step_ms: time of one step of the candidate in each round.
        baseline_step_ms: time of one step of the baseline in the same rounds.
        samples: samples in a step of the candidate over those in a step of the baseline.
        resamples: as for :meth:`Estimate.of`.
        seed: as for :meth:`Estimate.of`.

    Returns:
        The median over the rounds. What slows the whole machine for a while cancels in it.

    Raises:
        ValueError: there is no round, or the numbers of rounds differ.

    >>> print(paired_ratio([2.0] * 8, [3.0] * 8, samples=1))
    1.500x [1.500, 1.500] (n=8)
    """
    ratios = samples * np.asarray(baseline_step_ms) / np.asarray(step_ms)
    return Estimate.of(ratios, unit="x", in_time_order=True, resamples=resamples, seed=seed)


class _Prepared:
    """A candidate after its first call and warm-up, with the blocks it has run since."""

    def __init__(self, candidate: Candidate, settings: Settings, clock: Callable[[], float]) -> None:
        self.samples_per_step = candidate.samples_per_step
        self._timer = BlockTimer(candidate.step, candidate.synchronize, clock)
        self._first_call_s = self._timer.block(1)
        self._warm: WarmUp = warm_up(self._timer, settings)
        self.steps = self._warm.steps_per_block(settings)
        self.step_ms: list[float] = []

    @property
    def steady_s(self) -> float:
        return float(np.sum(self.step_ms)) * self.steps / 1000

    def run_block(self) -> None:
        took = self._timer.block(self.steps, untimed=1 if self.steps > 1 else 0)
        if took <= 0:
            raise ValueError(f"the clock did not advance during {self.steps} steps; pass a clock that does")
        self.step_ms.append(1000 * took / self.steps)

    def measurement(self, settings: Settings, stopped: Stopped, environment: Environment) -> Measurement:
        estimate = Estimate.of(
            self.step_ms, unit="ms", in_time_order=True, resamples=settings.resamples, seed=settings.seed
        )
        return Measurement(
            throughput=estimate.throughput(self.samples_per_step),
            step_ms=estimate,
            samples_per_step=self.samples_per_step,
            first_call_s=self._first_call_s,
            warmup_s=self._warm.seconds,
            warmup_settled=self._warm.settled,
            steady_s=self.steady_s,
            blocks=len(self.step_ms),
            steps_per_block=self.steps,
            stopped=stopped,
            block_ms=tuple(self.steps * x for x in self.step_ms),
            environment=environment,
        )


def _rounds(prepared: dict[str, _Prepared], baseline: str, settings: Settings, clock: Callable[[], float]) -> Stopped:
    rng = np.random.default_rng(settings.seed)
    order = list(prepared.values())
    looks = Looks(settings.min_blocks)
    start = clock()
    rounds = 0
    while True:
        for index in rng.permutation(len(order)):
            order[index].run_block()
        rounds += 1
        if looks.due(rounds) and all(each.steady_s >= settings.min_seconds for each in order):
            ratios = [_ratio(each, prepared[baseline], settings) for each in order]
            if all(ratio.relative_half_width <= settings.target_relative_width for ratio in ratios):
                return "narrow enough"
        if clock() - start >= settings.max_seconds * len(order):
            return "time out"
        if rounds >= settings.max_blocks:
            return "enough blocks"


def _ratio(candidate: _Prepared, baseline: _Prepared, settings: Settings) -> Estimate:
    return paired_ratio(
        candidate.step_ms,
        baseline.step_ms,
        samples=candidate.samples_per_step / baseline.samples_per_step,
        resamples=settings.resamples,
        seed=settings.seed,
    )
