"""What a tuning found: the finalists measured in turn, the winner, and how far to believe it.

Three files in the folder of a tuning hold it: ``trials.jsonl`` (one :class:`~hal.tuner.trial_result.Trial` a line,
appended as each ends), ``tuning.json`` (one :class:`Tuning`, whole) and ``best.yaml`` (keys that ``hal run --config``
takes).
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from hal.contract.device import DeviceFacts
from hal.contract.plan import Plan
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment, Estimate
from hal.tuner.trial_result import STRICT, Objective, Outcome, Sampler, Trial
from hal.util.files import write_whole
from hal.workload import Workload

__all__ = ["ControlMeasurement", "Finalist", "SearchCoverage", "Tuning"]


class ControlMeasurement(BaseModel):
    """A control measurement: the default plan measured again, to see whether the machine has changed."""

    model_config = STRICT

    after_trial: int = Field(description="Number of the trial before the control measurement.")
    elapsed_s: float
    throughput: Estimate
    drift: float = Field(gt=0, description="Speed of the default plan over that in its first trial.")


class Finalist(BaseModel):
    """One of the best plans, measured again in a fresh process, in turn with the others."""

    model_config = STRICT

    trial: int = Field(description="Number of its trial.")
    plan: Plan
    throughput: Estimate | None = Field(default=None, description="Median over the rounds.")
    step_ms: Estimate | None = Field(default=None, description="Median over the rounds.")
    over_default: Estimate | None = Field(
        default=None, description="Ratio of throughputs to the default plan within each round; above 1 is faster."
    )
    over_baseline: Estimate | None = Field(
        default=None, description="Ratio of throughputs to fp32 eager within each round."
    )
    values: dict[Objective, float] = Field(
        default_factory=dict, description="Values of the objectives that finalists are ranked by."
    )
    violations: dict[str, float] = Field(
        default_factory=dict,
        description="Constraints that were broken in the final measurements, with the value over the limit.",
    )
    message: str = Field(
        default="", description="Why it was excluded: it could not be measured again, or broke a constraint."
    )


class SearchCoverage(BaseModel):
    """How much of the space was tried, and what more time could bring."""

    model_config = STRICT

    method: Literal["grid", "search"] = Field(
        description="Grid: every plan is tried; search: the most promising plans are tried."
    )
    sampler: Sampler = Field(default="hal", description="What chose the plans, as the key sampler names it.")
    plans: int = Field(ge=0, description="Plans in the space.")
    tried: int = Field(ge=0)
    ruled_out: int = Field(
        default=0,
        ge=0,
        description="Plans that were not tried, because a plan that needs no more memory ran out of memory.",
    )
    remaining: int = Field(default=0, ge=0, description="Plans that were neither tried nor ruled out.")
    remaining_s: float | None = Field(default=None, ge=0, description="Estimated time to try the rest.")
    likely_gain: float | None = Field(
        default=None, description="Improvement that trying the rest is expected to bring, as a fraction: 0.02 is 2%."
    )
    likely_gain_high: float | None = Field(default=None, description="95th percentile of that improvement.")


class Tuning(BaseModel):
    """What a tuning found."""

    model_config = STRICT

    schema_version: Literal[1] = 1
    status: Literal["done", "settled", "budget", "trials", "interrupted"] = Field(
        description="Why the tuning ended: done (all plans were tried), settled (the remaining plans promise "
        "too little), "
        "budget or trials (the limit was reached), or interrupted (the user stopped it)."
    )
    started: str
    ended: str
    seconds: float = Field(
        ge=0,
        description="Duration, including earlier sessions of the same tuning; with a shared storage, only of "
        "this process.",
    )
    workload: Workload
    device: DeviceFacts
    target: str | None = Field(
        default=None,
        description="Hardware that is not present, for which all numbers are estimates; None for a device.",
    )
    fingerprint: Fingerprint
    environment: Environment
    config: dict[str, Any] = Field(description="The keys of the command.")
    objectives: tuple[Objective, ...] = Field(min_length=1)
    constraints: dict[str, float] = Field(default_factory=dict)
    space: dict[str, tuple[str | int | None, ...]] = Field(description="Values of each plan key.")
    searched: SearchCoverage
    default: Plan = Field(description="Plan that would run without tuning; speed-ups are relative to it.")
    baseline: Plan = Field(description="Fp32 eager at the default batch.")
    trials: tuple[Trial, ...]
    sentinels: tuple[ControlMeasurement, ...] = Field(default=(), description="Control measurements, in order.")
    finalists: tuple[Finalist, ...] = Field(default=(), description="Best first.")
    pareto: tuple[int, ...] = Field(
        default=(), description="Numbers of the trials that no other trial beats in all objectives."
    )
    winner: Plan | None = Field(default=None, description="The best plan; None if no plan worked.")
    winner_trial: int | None = None
    estimated_by: str | None = Field(
        default=None,
        description="Source of the winner's numbers if they are estimates; None if they were measured.",
    )
    over_default: Estimate | None = Field(default=None, description="Speed-up of the winner over the default plan.")
    over_baseline: Estimate | None = Field(default=None, description="Speed-up of the winner over fp32 eager.")
    failures: dict[Outcome, tuple[int, ...]] = Field(default_factory=dict, description="Numbers of trials, by cause.")
    native_code: str = Field(
        default="",
        description="Lines of the native framework that apply the winner outside hal.",
    )
    remembered: bool = Field(default=False, description="Whether the winner is stored, so that plan=tuned uses it.")
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numbers = [each.number for each in self.trials]
        named = {each.trial for each in self.finalists} | set(self.pareto)
        named |= {number for some in self.failures.values() for number in some}
        if len(set(numbers)) != len(numbers):
            raise ValueError("two trials have the same number")
        if unknown := named - set(numbers):
            raise ValueError(f"trial {min(unknown)} is named, but is not among the trials")
        if len({each.trial for each in self.finalists}) != len(self.finalists):
            raise ValueError("a finalist is listed twice")
        won = [each.plan for each in self.trials if each.number == self.winner_trial]
        if (self.winner is None) != (self.winner_trial is None) or (self.winner is not None and won != [self.winner]):
            raise ValueError("the winner is not the plan of the trial that is named as its own")
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError("an objective is listed twice")
        if unfamiliar := set(self.space) - set(Plan.model_fields):
            raise ValueError(f"the space has values of {min(unfamiliar)}, which is no plan key")
        if not all(isinstance(self.config.get(section) or {}, dict) for section in ("model", "data")):
            raise ValueError("config.model and config.data hold keys and values")
        return self

    def trial(self, number: int) -> Trial:
        """The trial of a number.

        Raises:
            KeyError: there is none.
        """
        for each in self.trials:
            if each.number == number:
                return each
        raise KeyError(number)

    @property
    def program(self) -> str:
        """What takes a plan of this workload: ``hal run``, or ``hal bench mode=infer``."""
        return "hal run" if self.workload.mode == "train" else "hal bench mode=infer"

    @property
    def command(self) -> str:
        """The command for the same workload on this device, without a plan: ``hal run model=cnn backend=cpu``."""
        words = [f"model={self.workload.model}"]
        for section in ("model", "data"):
            given = self.config.get(section) or {}
            for key, value in given.items():
                if key != "name":
                    words.append(f"{section}.{key}={value if isinstance(value, str) else json.dumps(value)}")
                elif section == "data":
                    words.append(f"data={value}")
        return f"{self.program} {shlex.join([*words, f'backend={self.device.backend}'])}"

    @property
    def nearest_miss(self) -> tuple[str, float] | None:
        """Where plans ran and none kept the constraints: the one broken by the best of them, with value over limit."""
        broken = [t.violations for t in self.trials if t.candidate and t.outcome is Outcome.OK and t.violations]
        broken += [f.violations for f in self.finalists if f.violations]
        if self.winner is not None or not broken:
            return None
        return max(min(broken, key=lambda each: max(each.values())).items(), key=lambda item: item[1])

    def write(self, folder: Path) -> Path:
        """Write ``tuning.json`` whole into a folder."""
        path = folder / "tuning.json"
        write_whole(path, (self.model_dump_json(indent=1) + "\n").encode())
        return path
