"""What the messages between the tuner and its workers hold."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment, Estimate
from hal.tuner.trial_result import Estimated, Guard, Outcome, Phases, Summary
from hal.workload import Workload

__all__ = ["Answer", "Description", "Order"]

_STRICT = ConfigDict(frozen=True, extra="forbid")


class Description(BaseModel):
    """What a worker is asked first: where it runs, and what the workload is there."""

    model_config = _STRICT

    workload: Workload
    device: Device
    devices: int = Field(ge=1, description="Number of devices of this kind, or of all devices of a target.")
    target: str | None = Field(default=None, description="Name of the target; None for a device of this machine.")
    fingerprint: Fingerprint
    environment: Environment
    default: Plan = Field(description="The resolved plan that would run without tuning.")
    samples: int = Field(ge=1, description="Number of samples in the training set.")
    images: bool = Field(description="Whether the model takes images, for which the layout matters.")
    own_ops: bool = Field(
        default=True, description="Whether hal's ops compute the model, so that the choice of their algorithms matters."
    )


class Order(BaseModel):
    """A trial to be run."""

    model_config = _STRICT

    plan: Plan
    seconds: float = Field(gt=0, description="Longest steady state.")
    relative_width: float = Field(
        default=0.03, gt=0, description="Half the interval, relative to the median, at which the measurement stops."
    )
    latency: bool = Field(default=False, description="Whether to wait for every step.")
    beat: Estimate | None = Field(
        default=None, description="Throughput below which the plan is certainly not the best."
    )
    guard: bool = Field(default=True, description="Whether to check the numerics.")
    to_loss: bool = Field(default=False, description="Whether to train to the loss that the default plan reaches.")


class Answer(BaseModel):
    """How a trial went, as the worker saw it."""

    model_config = _STRICT

    outcome: Outcome
    message: str = ""
    phases: Phases = Phases()
    measurement: Summary | None = None
    estimate: Estimated | None = None
    guard: Guard | None = None
    samples_to_loss: float | None = None
