"""What the messages between the tuner and its workers hold."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hal.contract.device import Capabilities, Device, Precision
from hal.contract.plan import Plan
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment, Estimate
from hal.tuner.result import Estimated, Guard, Outcome, Phases, Summary
from hal.workload import Workload

__all__ = ["Ability", "Answer", "Description", "Order"]

_STRICT = ConfigDict(frozen=True, extra="forbid")


class Ability(BaseModel):
    """A device with what it can do, as it crosses a pipe."""

    model_config = _STRICT

    facts: dict[str, Any]
    precisions: dict[str, tuple[bool, bool, str]]
    layouts: tuple[str, ...]
    compile: tuple[str, ...]
    parallel: tuple[str, ...]
    spread: int = 1
    algorithms: dict[str, tuple[str, ...]]
    threads: bool

    @classmethod
    def of(cls, device: Device) -> Ability:
        """A device as a message."""
        can = device.capabilities
        names = "backend index vendor name arch memory_bytes compute_units kind".split()
        return cls(
            facts={**{name: getattr(device, name) for name in names}, "facts": dict(device.facts)},
            precisions={n: (p.supported, p.accelerated, p.note) for n, p in can.precisions.items()},
            layouts=can.layouts,
            compile=can.compile,
            parallel=can.parallel,
            spread=can.spread,
            algorithms=dict(can.algorithms),
            threads=can.threads,
        )

    def device(self) -> Device:
        """The device again; its backend need not be installed here."""
        can = Capabilities(
            precisions={name: Precision(*entry) for name, entry in self.precisions.items()},  # type: ignore[misc]
            layouts=self.layouts,
            compile=self.compile,
            parallel=self.parallel,
            spread=self.spread,
            algorithms=self.algorithms,
            threads=self.threads,
        )
        return Device(**self.facts, capabilities=can)


class Description(BaseModel):
    """What a worker is asked first: where it runs, and what the workload is there."""

    model_config = _STRICT

    workload: Workload
    ability: Ability
    devices: int = Field(ge=1, description="devices of this kind; of a target, all that a plan can spread over")
    target: str | None = Field(default=None, description="name of hardware that is not here; None: it is here")
    fingerprint: Fingerprint
    environment: Environment
    default: Plan = Field(description="the plan without tuning, resolved")
    samples: int = Field(ge=1, description="in the training set")
    images: bool = Field(description="whether the layout of images has a meaning")


class Order(BaseModel):
    """A trial to be run."""

    model_config = _STRICT

    plan: Plan
    seconds: float = Field(gt=0, description="longest steady state")
    relative_width: float = Field(default=0.03, gt=0, description="half the interval over the median that is enough")
    latency: bool = Field(default=False, description="wait for every step")
    beat: Estimate | None = Field(default=None, description="throughput below which the plan is surely not the best")
    guard: bool = Field(default=True, description="check the numerics")
    to_loss: bool = Field(default=False, description="train to the loss that the default plan reaches")


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
