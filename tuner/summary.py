"""The result of a tuning, made from its trials, and the plan that is stored for ``plan=tuned``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hal import __version__
from hal.contract.device import DeviceFacts
from hal.job.stored_plans import StoredPlan, find, remember
from hal.run.record import now
from hal.tuner.config import TuneConfig
from hal.tuner.messages import Description
from hal.tuner.ranking import by_cause, pareto
from hal.tuner.result import ControlMeasurement, Finalist, Tuning
from hal.tuner.space import Space
from hal.tuner.trial_result import OBJECTIVES, Objective, Trial

__all__ = ["remember_winner", "summarize"]

_WANDERED = 0.1
_FEWEST_ROUNDS, _ROUGH = 6, 0.2


def summarize(
    described: Description,
    space: Space,
    asked: TuneConfig,
    trials: Sequence[Trial],
    finalists: Sequence[Finalist],
    winner: Trial | None,
    **more: Any,
) -> Tuning:
    """Collect everything about a tuning.

    Args:
        described: the device and the workload.
        space: all plans that can be tried.
        asked: the keys of the tuning.
        trials: all trials that have ended.
        finalists: the plans that were measured again.
        winner: the trial of the best plan; None if no plan worked.
        **more: the remaining fields of :class:`Tuning`.
    """
    final = next((f for f in finalists if winner is not None and f.trial == winner.number), None)
    name = asked.objective[0]
    fields: dict[str, Any] = {
        "ended": now(),
        "workload": described.workload,
        "device": DeviceFacts.of(described.device),
        "target": described.target,
        "fingerprint": described.fingerprint,
        "environment": described.environment,
        "objectives": asked.objective,
        "constraints": asked.constraint.model_dump(exclude_none=True),
        "space": space.dimensions,
        "default": space.default,
        "baseline": space.baseline,
        "trials": tuple(trials),
        "finalists": tuple(sorted(finalists, key=lambda f: _place(f, name))),
        "pareto": pareto(trials, asked.objective) if len(asked.objective) > 1 else (),
        "winner": winner.plan if winner else None,
        "winner_trial": winner.number if winner else None,
        "estimated_by": winner.estimate.source if winner and winner.estimate else None,
        "over_default": final.over_default if final else None,
        "over_baseline": final.over_baseline if final else None,
        "failures": by_cause(trials),
        "notes": (*_notes(more.get("sentinels", ()), finalists, winner), *_few(trials, len(space), final)),
    }
    return Tuning.model_validate({**fields, **more})


def remember_winner(tuning: Tuning, folder: Path) -> bool:
    """Store the best plan of a tuning for its objective; false if it was not stored.

    A Pareto front has no single best plan, and an estimated plan was not measured. An earlier plan that this tuning
    could not try stays stored, since it is unknown which of the two is better.
    """
    if tuning.winner is None or tuning.winner_trial is None or len(tuning.objectives) != 1:
        return False
    objective = tuning.objectives[0]
    if tuning.target is not None or _alone(tuning.trials, tuning.searched.plans):
        return False
    before = find(tuning.fingerprint, objective)
    if before is not None and all(t.plan != before.plan or not t.candidate or t.violations for t in tuning.trials):
        return False
    final = next((f for f in tuning.finalists if f.trial == tuning.winner_trial), None)
    measured = tuning.trial(tuning.winner_trial).measurement
    throughput = final.throughput if final is not None else None
    if throughput is None and measured is not None:
        throughput = measured.throughput
    if throughput is None:
        return False
    remember(
        StoredPlan(
            fingerprint=tuning.fingerprint,
            objective=objective,
            plan=tuning.winner,
            throughput=throughput,
            over_default=tuning.over_default,
            when=tuning.ended,
            hal_version=__version__,
            folder=str(folder.resolve()),
        )
    )
    return True


def _alone(trials: Sequence[Trial], plans: int) -> bool:
    """Whether one plan of several was tried, and compared with nothing."""
    return len(trials) == 1 and plans > 1


def _few(trials: Sequence[Trial], plans: int, final: Finalist | None) -> tuple[str, ...]:
    if _alone(trials, plans):
        return (
            "only the default plan was tried, so nothing was compared and no plan is stored; give a larger budget=",
        )
    ratio = None if final is None else final.over_default
    if ratio is None or (ratio.n >= _FEWEST_ROUNDS and ratio.relative_half_width <= _ROUGH):
        return ()
    return (f"the speed-up is uncertain: {ratio}; measure it on a quieter machine or with a larger budget=",)


def _place(finalist: Finalist, name: Objective) -> tuple[bool, float]:
    value = finalist.values.get(name)
    if value is None:
        return True, 0.0
    return False, -value if OBJECTIVES[name][1] == "maximize" else value


def _notes(
    sentinels: Sequence[ControlMeasurement], finalists: Sequence[Finalist], winner: Trial | None
) -> tuple[str, ...]:
    found = []
    drifts = [each.drift for each in sentinels]
    if drifts and (max(drifts) - min(drifts) > _WANDERED or abs(drifts[-1] - 1) > _WANDERED):
        found.append(
            f"the machine's speed changed: the default plan ran at {min(drifts):.2f} to {max(drifts):.2f} times its "
            "first speed"
        )
    if winner is not None and winner.estimate is not None:
        return (f"estimated by {winner.estimate.source}: not measured",)
    found += [f"trial {f.trial} was excluded after the final measurements: {f.message}" for f in finalists if f.message]
    if winner is not None and not any(f.trial == winner.number and not f.message for f in finalists):
        found.append("the best plan was measured only once and not again in turn with the default plan")
    return tuple(found)
