"""What a tuning found: every trial, the finalists measured in turn, the winner, and how far to believe it.

Three files in the folder of a tuning hold it: ``trials.jsonl`` (one :class:`Trial` a line, appended as each ends),
``tuning.json`` (one :class:`Tuning`, whole) and ``best.yaml`` (keys that ``hal run --config`` takes).

Long because it is one schema: every model here is a part of the same file, and they are checked against each other.
"""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from hal.contract.device import DeviceFacts
from hal.contract.plan import Plan
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment, Estimate, Latency, Measurement
from hal.util.files import write_whole
from hal.workload import Workload

__all__ = [
    "OBJECTIVES",
    "ControlMeasurement",
    "Estimated",
    "Finalist",
    "Guard",
    "Objective",
    "Origin",
    "Outcome",
    "Phases",
    "Sampler",
    "SearchCoverage",
    "Summary",
    "Trial",
    "Tuning",
]

Origin = Literal["default", "baseline", "stored", "grid", "search"]
Sampler = Literal["hal", "tpe", "gp", "random", "brute"]
Objective = Literal["throughput", "latency", "energy", "memory", "time_to_loss"]

OBJECTIVES: dict[Objective, tuple[str, Literal["maximize", "minimize"]]] = {
    "throughput": ("samples/s", "maximize"),
    "latency": ("ms", "minimize"),
    "energy": ("J/sample", "minimize"),
    "memory": ("bytes", "minimize"),
    "time_to_loss": ("s", "minimize"),
}
"""Unit and direction of each objective."""

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Outcome(StrEnum):
    """How a trial ended. Only ``ok`` can win."""

    OK = "ok"
    """Measured, and it computes what the reference computes; for hardware that is not present: built, and fits."""
    DIVERGED = "diverged"
    """Runs, but its losses, gradients or outputs are not those of the reference; see :class:`Guard`."""
    OOM = "oom"
    """Out of memory: an error of that type, or the kernel killed the process."""
    TIMEOUT = "timeout"
    """Not done within the limit of a trial, and killed."""
    CRASH = "crash"
    """The process died by a signal or left without an answer."""
    NAN = "nan"
    """The loss or the outputs were not finite."""
    COMPILE = "compile"
    """The framework's compiler failed."""
    UNSUPPORTED = "unsupported"
    """The device, its libraries or the workload cannot do what the plan asks."""
    PROTOCOL = "protocol"
    """The worker sent an invalid message."""
    FAILED = "failed"
    """Any other error, named in the message."""


class Phases(BaseModel):
    """Where the time of a trial went, in seconds. None: the trial did not come so far."""

    model_config = _STRICT

    start_s: float | None = Field(
        default=None, ge=0, description="Time to start a worker process, if this trial needed one."
    )
    load_s: float | None = Field(
        default=None, ge=0, description="Time to load the data, draw the initial values and place them on the device."
    )
    reference_s: float | None = Field(
        default=None, ge=0, description="Time of the numerics guard's reference, unless it was cached."
    )
    guard_s: float | None = Field(
        default=None, ge=0, description="Time to compute the losses or outputs that are compared."
    )
    compile_s: float | None = Field(
        default=None, ge=0, description="Time of the first call, which includes compilation."
    )
    warmup_s: float | None = Field(default=None, ge=0, description="Time from the first call to the steady state.")
    steady_s: float | None = Field(default=None, ge=0, description="Time of the measured blocks.")
    wall_s: float = Field(default=0.0, ge=0, description="Time of the whole trial, as the tuner saw it.")


class Guard(BaseModel):
    """Whether a plan computes what the reference does: fp32, eager, on the same device, from the same start.

    In training, both take the same few steps on the same batches. The loss curves must agree and the first update of
    the parameters must point the same way. In inference, the outputs for one batch are compared.
    """

    model_config = _STRICT

    passed: bool
    steps: int = Field(ge=0, description="Steps that both took; 0 for inference.")
    losses: tuple[float, ...] = Field(default=(), description="Losses of the plan, one for each step.")
    reference_losses: tuple[float, ...] = Field(default=(), description="Losses of the reference, one for each step.")
    loss_error: float | None = Field(
        default=None, description="Largest difference of the losses, relative to their scale."
    )
    loss_tolerance: float | None = None
    cosine: float | None = Field(
        default=None, description="Cosine between the first gradients, or between the outputs for inference."
    )
    cosine_tolerance: float | None = Field(default=None, description="Least cosine that passes.")
    message: str = Field(default="", description="What is wrong, with the numbers; empty if it passed.")


class Summary(BaseModel):
    """The numbers of one measurement. None means unknown, never zero."""

    model_config = _STRICT

    throughput: Estimate = Field(description="Throughput in samples/s in the steady state.")
    step_ms: Estimate = Field(description="Time of one step.")
    latency: Latency | None = Field(default=None, description="Latency of single steps, for inference.")
    peak_memory_bytes: int | None = Field(
        default=None, ge=0, description="Peak memory of the device, or of the process on a CPU."
    )
    power_w: float | None = None
    energy_j_per_sample: float | None = None
    blocks: int = Field(ge=1)
    steps_per_block: int = Field(ge=1)
    stopped: str = Field(
        description="Why the measurement ended; 'surely slower' means slower than the best plan so far."
    )
    notes: tuple[str, ...] = Field(default=(), description="What makes the numbers doubtful.")

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.throughput.low < 0 or self.step_ms.low < 0:
            raise ValueError("a throughput or a time is negative")
        return self

    @classmethod
    def of(cls, found: Measurement) -> Summary:
        """The summary of a measurement."""
        return cls(
            throughput=found.throughput,
            step_ms=found.step_ms,
            latency=found.latency,
            peak_memory_bytes=found.peak_memory_bytes,
            power_w=found.power_w,
            energy_j_per_sample=found.energy_j_per_sample,
            blocks=found.blocks,
            steps_per_block=found.steps_per_block,
            stopped=found.stopped,
            notes=found.notes(),
        )


class Estimated(BaseModel):
    """What a compiler's answer says of a plan on hardware that is not present. Nothing was measured."""

    model_config = _STRICT

    throughput: float | None = Field(
        description="Throughput in samples/s of all devices of the plan together, without the data path."
    )
    step_ms: float | None = Field(description="Time of one step; None if it is unknown.")
    memory_bytes: int | None = Field(description="Memory that the program needs on each device.")
    usable_bytes: int | None = Field(description="Memory that a program may use on each device.")
    source: str = Field(description="Source of the estimated time, as text for people.")


class Trial(BaseModel):
    """One plan that was tried."""

    model_config = _STRICT

    number: int = Field(ge=0, description="The trial's number in the study, the same in Optuna's storage.")
    plan: Plan
    origin: Origin = Field(
        description="Why the plan was tried: it is the model's default plan, fp32 eager, a plan that was found before, "
        "one of all plans, or the search's choice."
    )
    outcome: Outcome
    message: str = Field(default="", description="What went wrong.")
    phases: Phases = Phases()
    measurement: Summary | None = None
    estimate: Estimated | None = Field(
        default=None, description="Estimate in place of a measurement, for hardware that is not present."
    )
    guard: Guard | None = None
    samples_to_loss: float | None = Field(
        default=None, description="Samples until the loss was reached, for the objective time_to_loss."
    )
    drift: float = Field(
        default=1.0,
        gt=0,
        description="Speed of the machine relative to the start, from control measurements; values are "
        "corrected by it.",
    )
    values: dict[Objective, float] = Field(
        default_factory=dict, description="Values of the objectives, corrected for drift."
    )
    violations: dict[str, float] = Field(
        default_factory=dict, description="Constraints that were broken, with the measured value over the limit."
    )
    started: str = Field(description="Time of the start, in ISO 8601 and UTC.")
    elapsed_s: float = Field(
        default=0.0, ge=0, description="Seconds since the tuning began, without the time between sessions."
    )
    owner: str = Field(default="", description="Host and process that ran it.")
    candidate: bool = Field(
        default=True, description="Whether the plan is in the space; otherwise it was tried only for comparison."
    )

    @property
    def feasible(self) -> bool:
        """Whether it may win: the space holds it, it ran, it is right, and it keeps the constraints."""
        return self.candidate and self.outcome is Outcome.OK and not self.violations

    @property
    def cut_short(self) -> bool:
        """Whether it was stopped early because it was certainly worse than the best trial so far."""
        return self.measurement is not None and self.measurement.stopped == "surely slower"


class ControlMeasurement(BaseModel):
    """A control measurement: the default plan measured again, to see whether the machine has changed."""

    model_config = _STRICT

    after_trial: int = Field(description="Number of the trial before the control measurement.")
    elapsed_s: float
    throughput: Estimate
    drift: float = Field(gt=0, description="Speed of the default plan over that in its first trial.")


class Finalist(BaseModel):
    """One of the best plans, measured again in a fresh process, in turn with the others."""

    model_config = _STRICT

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

    model_config = _STRICT

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

    model_config = _STRICT

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
        validation_alias=AliasChoices("native_code", "recipe"),  # its name before
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
            raise ValueError("a finalist is there twice")
        won = [each.plan for each in self.trials if each.number == self.winner_trial]
        if (self.winner is None) != (self.winner_trial is None) or (self.winner is not None and won != [self.winner]):
            raise ValueError("the winner is not the plan of the trial that is named as its own")
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError("an objective is there twice")
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
