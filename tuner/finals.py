"""The final measurements: which plans take part, how long they need, and what their results are worth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from hal.contract.plan import Plan
from hal.errors import DataError
from hal.tuner.config import ConstraintSection, TuneConfig
from hal.tuner.interleaved import BUILT_AT_ONCE, FEWEST_ROUNDS, Entrant, measure_interleaved
from hal.tuner.ranking import best_of
from hal.tuner.result import Finalist
from hal.tuner.session import TuningSession
from hal.tuner.space import key_of
from hal.tuner.trial_result import Outcome, Trial

__all__ = ["FinalMeasurements", "expected_finals_s", "select_entrants", "with_final_values"]

_LONGEST_S = 4.0
"""Longest time that each finalist is measured for."""

_MOST_MEMORY = 0.8
"""Share of the device's memory that the finalists may hold together."""


class FinalMeasurements:
    """Measures the best plans of a tuning again, in turn with the default plan and fp32 eager.

    Args:
        session: the tuning, whose trials have ended.

    Attributes:
        native_codes: source lines that apply each plan without hal, by trial number. They are asked for before the
            worker of the trials ends, since another worker would have to load everything again.
    """

    def __init__(self, session: TuningSession) -> None:
        self._session = session
        self.native_codes: dict[int, str] = {}

    def run(self, trials: Sequence[Trial]) -> list[Finalist]:
        """Measure, or wait for another process of the same study that measures; empty if that was not possible."""
        session = self._session
        config, study = session.config, session.study
        chosen = best_of(trials, session.objectives[0])[: config.finalists]
        memory = session.described.fingerprint.memory_bytes
        space = session.space
        entrants, default, baseline = select_entrants(chosen, trials, space.default, space.baseline, memory)
        if not chosen:
            return []
        if not entrants:
            session.observer.note(
                "the best plan and the default plan do not fit into the device's memory together, so they are not "
                "measured again in turn"
            )
            return []
        tag = str(len(trials))
        claim = study.claim_finals(tag, 10 * config.limit_s)
        while claim is None:
            if session.interrupt.asked:
                return []
            held = study.note(f"finals:{tag}")
            if held is not None:
                return _noted(held, {t.number for t in trials})
            if not session.wait_for_others():
                claim = study.claim_finals(tag, 10 * config.limit_s)
        self.native_codes = {each.trial: session.pool.native_code(each.plan.model_dump()) for each in entrants}
        session.pool.close()
        by_number = {t.number: t for t in trials}
        session.observer.finals([by_number[each.trial] for each in entrants])
        found = measure_interleaved(
            session.pool,
            entrants,
            default=default,
            baseline=baseline,
            seconds=_share_s(config),
            limit_s=config.limit_s,
            until=session.ends_at,
            seed=config.seed,
            stop=lambda: session.interrupt.asked,
            latency=config.mode == "infer",
        )
        if not found:
            study.release(claim)
            return []
        judged = [with_final_values(each, by_number[each.trial], config.constraint) for each in found]
        study.finish_finals(claim, tag, {"finalists": [each.model_dump(mode="json") for each in judged]})
        return judged


def _noted(held: Any, known: set[int]) -> list[Finalist]:
    """The finalists that another process has noted, as far as this one knows their trials.

    Raises:
        DataError: the note is damaged.
    """
    try:
        found = [Finalist.model_validate(each) for each in held["finalists"]]
    except (LookupError, TypeError, ValidationError) as error:
        raise DataError(
            "the storage holds final measurements that are damaged", fix="give another storage= or out="
        ) from error
    return [each for each in found if each.trial in known]


def _share_s(config: TuneConfig) -> float:
    return min(_LONGEST_S, 2 * config.seconds)


def expected_finals_s(config: TuneConfig, trials: Sequence[Trial]) -> float:
    """The time that the final measurements are expected to need: at most half of the budget.

    Args:
        config: the keys of the tuning.
        trials: the trials that have ended.
    """
    if config.target is not None:
        return 0.0
    starts = [t.phases.start_s for t in trials if t.phases.start_s] + [
        (t.phases.load_s or 0.0) + 2.0 for t in trials if t.phases.load_s
    ]
    start_s = statistics.median(starts) if starts else 5.0
    best = best_of(trials, config.objective[0])[: config.finalists]
    build_s = start_s / BUILT_AT_ONCE
    share_s = _share_s(config)
    # The default plan takes part too, and so will plans that are still to be found.
    needed = (1 + config.finalists - len(best)) * (build_s + share_s)
    for trial in best:
        step_s = trial.measurement.step_ms.median / 1000 if trial.measurement else 0.0
        needed += build_s + (trial.phases.compile_s or 0.0) + (trial.phases.warmup_s or 0.0)
        needed += max(share_s, FEWEST_ROUNDS * step_s)
        needed += build_s if trial.plan.parallel != "none" else 0.0  # its other processes start after the first
    return min(0.5 * config.budget, needed)


def select_entrants(
    best: Sequence[Trial], trials: Sequence[Trial], default: Plan, baseline: Plan, memory_bytes: int | None
) -> tuple[list[Entrant], int | None, int | None]:
    """Choose the best few plans, the default plan and fp32 eager, as far as they fit into memory together.

    Args:
        best: trials of the best plans, the best first.
        trials: all trials that have ended.
        default: the default plan.
        baseline: fp32 eager.
        memory_bytes: the device's memory; None if it is unknown.

    Returns:
        The plans that take part, none if the best and the default plan alone are too large; then the trial numbers of
        the default plan and of fp32 eager, None for a plan that did not work.
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


def with_final_values(finalist: Finalist, trial: Trial, constraint: ConstraintSection) -> Finalist:
    """A finalist with values of the objectives; those that depend on time come from the final measurements.

    A finalist whose step took longer there than ``constraint.latency_ms`` gets a message and no values.
    """
    if finalist.throughput is None or finalist.step_ms is None or trial.violations:
        return finalist
    if constraint.latency_ms is not None and finalist.step_ms.median > constraint.latency_ms:
        said = (
            f"a step took {finalist.step_ms.median:.4g} ms in the final measurements, which is longer than "
            f"constraint.latency_ms={constraint.latency_ms:g} allows"
        )
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
