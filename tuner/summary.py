"""The result of a tuning from its trials, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hal import __version__
from hal.contract.device import DeviceFacts
from hal.job.stored_plans import StoredPlan, find, remember
from hal.run.record import now
from hal.tuner.config import TuneConfig
from hal.tuner.judge import by_cause, pareto
from hal.tuner.messages import Description
from hal.tuner.result import OBJECTIVES, Finalist, Objective, Sentinel, Trial, Tuning
from hal.tuner.space import Space

__all__ = ["keep", "summed_up"]

_WANDERED = 0.1
_FEWEST_ROUNDS, _ROUGH = 6, 0.2


def summed_up(
    described: Description,
    space: Space,
    asked: TuneConfig,
    trials: Sequence[Trial],
    finalists: Sequence[Finalist],
    winner: Trial | None,
    **more: Any,
) -> Tuning:
    """Everything about a tuning in one model.

    Args:
        described: where and what.
        space: all plans.
        asked: the keys.
        trials: all that have ended.
        finalists: those that were measured again.
        winner: the best; None: nothing worked.
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


def keep(tuning: Tuning, folder: Path) -> bool:
    """Remember the winner of a tuning for one objective; whether that was done.

    A Pareto front has no plan that is the answer, and what was estimated is no measured plan. A plan that was found
    before stays where it could not win: nobody knows which is better.
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
        return ("only the default plan was tried: nothing was compared, and nothing is remembered; give more budget=",)
    ratio = None if final is None else final.over_default
    if ratio is None or (ratio.n >= _FEWEST_ROUNDS and ratio.relative_half_width <= _ROUGH):
        return ()
    return (f"the speed-up is known roughly, {ratio}; a quieter machine or more budget= tells better",)


def _place(finalist: Finalist, name: Objective) -> tuple[bool, float]:
    value = finalist.values.get(name)
    if value is None:
        return True, 0.0
    return False, -value if OBJECTIVES[name][1] == "maximize" else value


def _notes(sentinels: Sequence[Sentinel], finalists: Sequence[Finalist], winner: Trial | None) -> tuple[str, ...]:
    found = []
    drifts = [each.drift for each in sentinels]
    if drifts and (max(drifts) - min(drifts) > _WANDERED or abs(drifts[-1] - 1) > _WANDERED):
        found.append(
            f"the machine's speed changed: the default plan ran at {min(drifts):.2f} to {max(drifts):.2f} times its "
            "first speed"
        )
    if winner is not None and winner.estimate is not None:
        return (f"estimated by {winner.estimate.source}: not measured",)
    found += [f"trial {f.trial} is out by the last measurements: {f.message}" for f in finalists if f.message]
    if winner is not None and not any(f.trial == winner.number and not f.message for f in finalists):
        found.append("the winner was measured once, not again in turn with the default plan")
    return tuple(found)
