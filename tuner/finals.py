"""The last measurements: the best plans and the default, in turn, each in a fresh process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from hal.contract.plan import Plan
from hal.measure import Estimate
from hal.tuner.config import ConstraintSection
from hal.tuner.messages import Order
from hal.tuner.pool import Pool
from hal.tuner.process import Failure, WorkerProcess
from hal.tuner.result import Finalist, Outcome, Trial
from hal.tuner.space import key_of

__all__ = ["AT_ONCE", "FEWEST_ROUNDS", "Entrant", "revalued", "run_finals", "taking_part"]

FEWEST_ROUNDS = 8
"""Of fewer, a ratio has no interval."""

_MOST_ROUNDS = 200
_NARROW = 0.01
_LEAST_BLOCK_S = 0.05
_MOST_MEMORY = 0.8
"""Share of the device's memory that the finalists may hold together."""

AT_ONCE = 2
"""Plans that are built at the same time: most of it is importing a framework, which one core does."""


@dataclass
class Entrant:
    """A plan that takes part.

    Attributes:
        trial: number of its trial.
        plan: what runs.
        step_ms: of each block so far.
        steps: in a block.
        message: why it is out; empty while it is in.
    """

    trial: int
    plan: Plan
    step_ms: list[float] = field(default_factory=list)
    steps: int = 1
    message: str = ""
    worker: WorkerProcess | None = None


def taking_part(
    best: Sequence[Trial], trials: Sequence[Trial], default: Plan, baseline: Plan, memory_bytes: int | None
) -> tuple[list[Entrant], int | None, int | None]:
    """The best few, the default plan and fp32 eager, as far as they fit into memory together.

    Returns:
        Who takes part, none where the best and the default alone are too large; and the numbers of the trials of the
        default plan and of fp32 eager, None for one that did not work.
    """
    chosen = list(best)
    numbers: list[int | None] = []
    for plan in (default, baseline):
        found = next((t for t in trials if key_of(t.plan) == key_of(plan) and t.outcome is Outcome.OK), None)
        numbers.append(None if found is None else found.number)
        chosen += [found] if found is not None and found not in chosen else []
    room = _MOST_MEMORY * (memory_bytes or float("inf"))
    keep = {chosen[0].number, numbers[0]} if chosen else set()
    held = sum(map(_memory, chosen))
    for trial in reversed(list(chosen)):
        if held > room and trial.number not in keep:
            chosen.remove(trial)
            held -= _memory(trial)
    if held > room:
        return [], None, None
    return [Entrant(t.number, t.plan) for t in chosen], numbers[0], numbers[1]


def _memory(trial: Trial) -> int:
    return (trial.measurement.peak_memory_bytes if trial.measurement else None) or 0


def revalued(finalist: Finalist, trial: Trial, constraint: ConstraintSection) -> Finalist:
    """A finalist with values of the objectives: those that depend on time from the last measurements.

    One that does not keep its step time there is out.
    """
    if finalist.throughput is None or finalist.step_ms is None or trial.violations:
        return finalist
    if constraint.latency_ms is not None and finalist.step_ms.median > constraint.latency_ms:
        said = f"a step took {finalist.step_ms.median:.4g} ms, and constraint.latency_ms={constraint.latency_ms:g}"
        over = {"latency_ms": finalist.step_ms.median / constraint.latency_ms}
        return finalist.model_copy(update={"message": said, "violations": over})
    values = dict(trial.values)
    if "throughput" in values:
        values["throughput"] = finalist.throughput.median
    if "latency" in values:
        values["latency"] = finalist.step_ms.median
    if "time_to_loss" in values and trial.samples_to_loss is not None:
        values["time_to_loss"] = trial.samples_to_loss / finalist.throughput.median
    return finalist.model_copy(update={"values": values})


def run_finals(
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
        entrants: who takes part.
        default: number of the default plan's trial among them; None: it is not.
        baseline: the same of fp32 eager.
        seconds: each plan's share of the time.
        limit_s: longest that one plan may take to be built, and longest for a block.
        until: time of :func:`time.monotonic` after which no round begins.
        seed: of the order within rounds.
        stop: asked after each round whether to end.
        latency: wait after each step, as the trials of inference do.

    Returns:
        One for each entrant, in the order given; none where it was stopped before they tell anything.
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
            said = each.message or "no round was finished"
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
    """Build every plan in a process of its own, two at a time, and then find out how long their blocks are to be."""

    def build(each: Entrant) -> None:
        assert each.worker is not None
        try:
            pool.opened(each.worker)
            order = Order(plan=each.plan, seconds=seconds, guard=False, latency=latency)
            # As long as a trial may take, twice, since two are built at once.
            each.steps = int(each.worker.ask("hold", AT_ONCE * limit_s, order=order.model_dump(mode="json")))
        except Failure as failure:
            _drop(each, failure)

    with ThreadPoolExecutor(AT_ONCE) as builders:
        for first in range(0, len(entrants), AT_ONCE):
            some = entrants[first : first + AT_ONCE]
            try:
                for each in some:
                    each.worker = _launched(pool, each)
                list(builders.map(build, [each for each in some if each.worker is not None]))
            except BaseException:
                for each in some:  # those that build would wait for them
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
        # A ratio of fewer rounds has no interval; beyond those the time decides.
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
    """Ratio of throughputs, round by round."""
    if base is None or base.message or len(base.step_ms) != len(entrant.step_ms) or not base.step_ms:
        return None
    samples = entrant.plan.batch / base.plan.batch
    paired = samples * np.asarray(base.step_ms) / np.asarray(entrant.step_ms)
    return Estimate.of(paired, unit="x", in_time_order=True)
