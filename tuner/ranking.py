"""Values of the objectives, constraints, and the ranking of trials by them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hal.contract.plan import Plan
from hal.errors import UnsupportedError
from hal.measure import Estimate
from hal.tuner.config import ConstraintSection
from hal.tuner.messages import Answer
from hal.tuner.result import Finalist
from hal.tuner.trial_result import OBJECTIVES, Objective, Outcome, Trial

__all__ = [
    "best_of",
    "by_cause",
    "merit",
    "order_of",
    "pareto",
    "require_values",
    "throughput_to_beat",
    "values_of",
    "violations_of",
    "winner_of",
]


_MARGIN = 0.97
"""A plan whose measured speed is this share of the best may still be as fast, so it is not stopped early."""


def values_of(answer: Answer, objectives: Sequence[Objective], drift: float) -> dict[Objective, float]:
    """Values of the objectives, as on a machine as fast as at the start; those that are unknown are left out."""
    if answer.outcome is not Outcome.OK:
        return {}
    known = _estimated(answer) if answer.estimate is not None else _measured(answer, drift)
    return {name: value for name in objectives if (value := known.get(name)) is not None}


def _measured(answer: Answer, drift: float) -> Mapping[Objective, float | None]:
    found = answer.measurement
    if found is None:
        return {}
    throughput = found.throughput.median / drift
    latency = found.latency.p50_ms.median if found.latency is not None else found.step_ms.median
    return {
        "throughput": throughput,
        "latency": latency * drift,
        "energy": found.energy_j_per_sample,
        "memory": None if found.peak_memory_bytes is None else float(found.peak_memory_bytes),
        "time_to_loss": None if answer.samples_to_loss is None else answer.samples_to_loss / throughput,
    }


def _estimated(answer: Answer) -> Mapping[Objective, float | None]:
    found = answer.estimate
    if found is None:
        return {}
    memory = None if found.memory_bytes is None else float(found.memory_bytes)
    return {"throughput": found.throughput, "latency": found.step_ms, "memory": memory}


def violations_of(answer: Answer, constraint: ConstraintSection) -> dict[str, float]:
    """Constraints that a measurement or an estimate breaks, with the value over the limit."""
    memory_bytes, step_ms = None, None
    if answer.measurement is not None:
        memory_bytes, step_ms = answer.measurement.peak_memory_bytes, answer.measurement.step_ms.median
    elif answer.estimate is not None:
        memory_bytes, step_ms = answer.estimate.memory_bytes, answer.estimate.step_ms
    ratios: dict[str, float] = {}
    if constraint.memory is not None and memory_bytes is not None:
        ratios["memory"] = memory_bytes / constraint.memory
    if constraint.latency_ms is not None and step_ms is not None:
        ratios["latency_ms"] = step_ms / constraint.latency_ms
    return {name: ratio for name, ratio in ratios.items() if ratio > 1}


def require_values(
    trial: Trial, objectives: Sequence[Objective], constraint: ConstraintSection, target: str | None
) -> None:
    """Check that the values that a plan is ranked by are known.

    Raises:
        UnsupportedError: a value cannot be measured on this device, or not be estimated for the target.
    """
    if trial.outcome is not Outcome.OK:
        return
    measured, estimate = trial.measurement, trial.estimate
    wanted: list[tuple[str, str, float | None]] = [
        (f"objective={name}", name, trial.values.get(name)) for name in objectives
    ]
    if constraint.memory is not None:
        counted = measured.peak_memory_bytes if measured else estimate.memory_bytes if estimate else None
        wanted.append(("constraint.memory", "memory", counted))
    if constraint.latency_ms is not None and estimate is not None:
        wanted.append(("constraint.latency_ms", "latency", estimate.step_ms))
    for key, name, value in wanted:
        if value is not None:
            continue
        if estimate is not None:
            raise UnsupportedError(
                f"{key} cannot be used with target={target}, because {name} cannot be estimated (source: "
                f"{estimate.source})",
                fix="use objective=memory" if name != "memory" else "use objective=throughput",
            )
        if name in ("energy", "memory"):
            raise UnsupportedError(
                f"{key} cannot be used on this device, because it has no counter of {name} that hal can read",
                fix="use another objective or constraint, for example objective=throughput",
            )


def order_of(trial: Trial, objective: Objective) -> float:
    """A number that is smaller for better trials."""
    value = trial.values.get(objective)
    if value is None:
        return float("inf")
    return -value if OBJECTIVES[objective][1] == "maximize" else value


def merit(trial: Trial, objective: Objective) -> float | None:
    """The logarithm of an objective, larger for better; None where the trial has none."""
    value = trial.values.get(objective)
    if value is None or value <= 0:
        return None
    return math.log(value) * (1 if OBJECTIVES[objective][1] == "maximize" else -1)


def best_of(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Trials that may win, the best first."""
    able = [t for t in trials if t.feasible and not t.cut_short and objective in t.values]
    return sorted(able, key=lambda t: order_of(t, objective))


def throughput_to_beat(
    trials: Sequence[Trial], objectives: Sequence[Objective], plan: Plan, drift: float
) -> Estimate | None:
    """The throughput below which a plan is certainly worse than the best so far; None if it is unknown."""
    if len(objectives) != 1 or objectives[0] not in ("throughput", "latency"):
        return None
    best = next(iter(best_of(trials, objectives[0])), None)
    if best is None or best.measurement is None:
        return None
    if objectives[0] == "throughput":
        found, factor = best.measurement.throughput, _MARGIN * drift / best.drift
        return found.model_copy(
            update={"median": found.median * factor, "low": found.low * factor, "high": found.high * factor}
        )
    return best.measurement.step_ms.throughput(plan.batch * _MARGIN * drift / best.drift)


def pareto(trials: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[int, ...]:
    """Numbers of trials that no other beats in all objectives."""
    able = [t for t in trials if t.feasible and not t.cut_short and all(name in t.values for name in objectives)]
    rows = [tuple(order_of(t, name) for name in objectives) for t in able]

    def beaten(row: tuple[float, ...]) -> bool:
        return any(other != row and all(a <= b for a, b in zip(other, row, strict=True)) for other in rows)

    return tuple(t.number for t, row in zip(able, rows, strict=True) if not beaten(row))


def winner_of(finalists: Sequence[Finalist], trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The best of those that were measured: among the finalists, or among the trials where there are none."""
    by_number = {t.number: t for t in trials}
    final: Mapping[int, float] = {
        f.trial: f.values[objective] for f in finalists if not f.message and objective in f.values
    }
    able = [by_number[n] for n in final if n in by_number and by_number[n].feasible]
    if not able:
        failed = {f.trial for f in finalists if f.message}
        return next((t for t in best_of(trials, objective) if t.number not in failed), None)
    sign = -1 if OBJECTIVES[objective][1] == "maximize" else 1
    return min(able, key=lambda t: sign * final[t.number])


def by_cause(trials: Sequence[Trial]) -> dict[Outcome, tuple[int, ...]]:
    """Numbers of the trials that failed, by cause."""
    found: dict[Outcome, tuple[int, ...]] = {}
    for trial in trials:
        if trial.outcome is not Outcome.OK:
            found[trial.outcome] = (*found.get(trial.outcome, ()), trial.number)
    return found
