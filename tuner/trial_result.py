"""What a trial found: how one plan that was tried ended, where its time went, and its numbers.

A line of ``trials.jsonl`` in the folder of a tuning is one :class:`Trial`; ``tuning.json`` has all of them again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hal.contract.plan import Plan
from hal.measure import Estimate, Latency, Measurement

__all__ = [
    "OBJECTIVES",
    "STRICT",
    "Estimated",
    "Guard",
    "Objective",
    "Origin",
    "Outcome",
    "Phases",
    "Sampler",
    "Summary",
    "Trial",
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

STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
"""Settings of every model in the files of a tuning."""


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

    model_config = STRICT

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

    model_config = STRICT

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

    model_config = STRICT

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

    model_config = STRICT

    throughput: float | None = Field(
        description="Throughput in samples/s of all devices of the plan together, without the data path."
    )
    step_ms: float | None = Field(description="Time of one step; None if it is unknown.")
    memory_bytes: int | None = Field(description="Memory that the program needs on each device.")
    usable_bytes: int | None = Field(description="Memory that a program may use on each device.")
    source: str = Field(description="Source of the estimated time, as text for people.")


class Trial(BaseModel):
    """One plan that was tried."""

    model_config = STRICT

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
