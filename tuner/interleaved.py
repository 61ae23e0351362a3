"""Measurements of several plans block by block in turn, each in a fresh process of its own.

Plans that are measured one after the other meet a machine in different states. Blocks in turn meet the same states, so
that the ratios within rounds are comparable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from hal.contract.plan import Plan
from hal.measure import Estimate, paired_ratio
from hal.tuner.messages import Order
from hal.tuner.pool import Pool
from hal.tuner.process import Failure, WorkerProcess
from hal.tuner.result import Finalist

__all__ = ["BUILT_AT_ONCE", "FEWEST_ROUNDS", "Entrant", "measure_interleaved"]

FEWEST_ROUNDS = 8
"""A ratio over fewer rounds has no interval."""

_MOST_ROUNDS = 200
_NARROW = 0.01
_LEAST_BLOCK_S = 0.05
BUILT_AT_ONCE = 2
"""Number of plans that are built at the same time. Most of the work is importing a framework, which uses one core."""


@dataclass
class Entrant:
    """A plan that takes part.

    Attributes:
        trial: number of the plan's trial.
        plan: the plan.
        step_ms: mean time of a step in each block so far.
        steps: number of steps in a block.
        message: why the plan was dropped; empty while it takes part.
        worker: the process that holds the plan.
    """

    trial: int
    plan: Plan
    step_ms: list[float] = field(default_factory=list)
    steps: int = 1
    message: str = ""
    worker: WorkerProcess | None = None


def measure_interleaved(
    pool: Pool,
    entrants: Sequence[Entrant],
    *,
    default: int | None,
    baseline: int | None,
    seconds: float,
    limit_s: float,
    until: float,
    seed: int,
    stop: Callable[[], bool],
    latency: bool = False,
) -> list[Finalist]:
    """Measure plans block by block in turn.

    Rounds end when every ratio to the default is narrow, or when each plan had its share of the time.

    Args:
        pool: starts the processes.
        entrants: the plans that take part.
        default: trial number of the default plan among them; None if it does not take part.
        baseline: trial number of fp32 eager among them; None if it does not take part.
        seconds: time that each plan may be measured for.
        limit_s: longest time to build one plan, and longest time of one block.
        until: value of :func:`time.monotonic` after which no round begins.
        seed: seed of the order within rounds.
        stop: called after each round; true ends the measurements.
        latency: wait for the device after each step, as trials of inference do.

    Returns:
        One finalist for each entrant, in the order given; none if it was stopped before there were enough rounds for
        an interval.
    """
    try:
        _prepare(pool, entrants, seconds, limit_s, latency)
        _rounds(entrants, default, seconds, limit_s, until, seed, stop)
    finally:
        for each in entrants:
            if each.worker is not None:
                each.worker.kill()
    if stop() and min((len(each.step_ms) for each in entrants if not each.message), default=0) < FEWEST_ROUNDS:
        return []
    by_trial = {each.trial: each for each in entrants}
    found = []
    for each in entrants:
        if each.message or not each.step_ms:
            said = each.message or "no round of the final measurements was completed"
            found.append(Finalist(trial=each.trial, plan=each.plan, message=said))
            continue
        step = Estimate.of(each.step_ms, unit="ms", in_time_order=True)
        found.append(
            Finalist(
                trial=each.trial,
                plan=each.plan,
                throughput=step.throughput(each.plan.batch),
                step_ms=step,
                over_default=_ratio(each, by_trial.get(-1 if default is None else default)),
                over_baseline=_ratio(each, by_trial.get(-1 if baseline is None else baseline)),
            )
        )
    return found


def _prepare(pool: Pool, entrants: Sequence[Entrant], seconds: float, limit_s: float, latency: bool) -> None:
    """Build every plan in a process of its own, two at a time, then choose the number of steps in their blocks."""

    def build(each: Entrant) -> None:
        assert each.worker is not None
        try:
            pool.opened(each.worker)
            order = Order(plan=each.plan, seconds=seconds, guard=False, latency=latency)
            # Each plan gets twice the time limit of a trial, since two are built at once.
            each.steps = int(each.worker.ask("hold", BUILT_AT_ONCE * limit_s, order=order.model_dump(mode="json")))
        except Failure as failure:
            _drop(each, failure)

    with ThreadPoolExecutor(BUILT_AT_ONCE) as builders:
        for first in range(0, len(entrants), BUILT_AT_ONCE):
            some = entrants[first : first + BUILT_AT_ONCE]
            try:
                for each in some:
                    each.worker = _launched(pool, each)
                list(builders.map(build, [each for each in some if each.worker is not None]))
            except BaseException:
                for each in some:  # the executor would wait for builds that still run
                    if each.worker is not None:
                        each.worker.kill()
                raise
    for each in entrants:
        try:
            while each.worker is not None:
                took = float(each.worker.ask("block", limit_s, steps=each.steps))
                if took >= _LEAST_BLOCK_S:
                    break
                each.steps *= 2
        except Failure as failure:
            _drop(each, failure)


def _launched(pool: Pool, entrant: Entrant) -> WorkerProcess | None:
    try:
        return pool.launched()
    except Failure as failure:
        _drop(entrant, failure)
        return None


def _drop(entrant: Entrant, failure: Failure) -> None:
    entrant.message = f"{failure.outcome.value}: {failure.message}"
    if entrant.worker is not None:
        entrant.worker.kill()
        entrant.worker = None


def _rounds(
    entrants: Sequence[Entrant],
    default: int | None,
    seconds: float,
    limit_s: float,
    until: float,
    seed: int,
    stop: Callable[[], bool],
) -> None:
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    for done in range(_MOST_ROUNDS):
        running = [each for each in entrants if not each.message]
        if not running or stop():
            return
        spent = time.monotonic() - began
        # A ratio over fewer rounds has no interval; after that many, the time decides.
        if done >= FEWEST_ROUNDS and (spent > seconds * len(running) or _narrow(running, default)):
            return
        if done > 0 and time.monotonic() > until and done >= FEWEST_ROUNDS // 2:
            return
        took: dict[int, float] = {}
        for index in rng.permutation(len(running)):
            each = running[index]
            assert each.worker is not None
            try:
                took[index] = float(each.worker.ask("block", limit_s, steps=each.steps))
            except Failure as failure:
                _drop(each, failure)
        if len(took) == len(running):
            for index, block_s in took.items():
                running[index].step_ms.append(1000 * block_s / running[index].steps)


def _narrow(running: Sequence[Entrant], default: int | None) -> bool:
    base = next((each for each in running if each.trial == default), running[0])
    ratios = [_ratio(each, base) for each in running if each is not base]
    return all(ratio is not None and ratio.relative_half_width <= _NARROW for ratio in ratios)


def _ratio(entrant: Entrant, base: Entrant | None) -> Estimate | None:
    """Ratio of the throughputs of two plans within each round."""
    if base is None or base.message or len(base.step_ms) != len(entrant.step_ms) or not base.step_ms:
        return None
    return paired_ratio(entrant.step_ms, base.step_ms, samples=entrant.plan.batch / base.plan.batch)
