"""What ``hal choose`` found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hal.cards.predictor import Prediction
from hal.contract.device import PrecisionName

__all__ = ["Candidate", "Choice", "Decides", "LeftOut"]

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Candidate(BaseModel):
    """A device that fulfils what was asked for."""

    model_config = _STRICT

    id: str
    name: str
    vendor: str
    generation: str
    form: str
    memory_gb: float | None
    watts: float | None
    precision: PrecisionName
    backend: str | None = Field(description="The backend of hal that serves it.")
    builds: str = Field(description="Which builds of the framework have code for it.")
    largest_batch: int | None = Field(description="The largest batch that fits; None where memory is unknown.")
    larger_batches_fit: bool = Field(
        default=False, description="Whether largest_batch is only where the search ended, so that more may fit."
    )
    prediction: Prediction | None
    unknown: str = Field(default="", description="Why nothing is predicted.")
    group: int | None = Field(default=None, description="Devices of one group differ by less than is known.")
    joules_per_sample: float | None = Field(default=None, description="At most: its watts over its throughput.")
    price: float | None = None
    per_hour: float | None = None
    cost_per_epoch: float | None = None
    exchange_share: float | None = Field(
        default=None, description="Share of a step that several devices exchange gradients."
    )

    def largest_batch_text(self) -> str:
        """The largest batch as people read it."""
        if self.largest_batch is None:
            return "unknown"
        return f"{self.largest_batch:,}" + (" or more" if self.larger_batches_fit else "")


class LeftOut(BaseModel):
    """A device that does not fulfil what was asked for, and why."""

    model_config = _STRICT

    id: str
    name: str
    why: str


class Decides(BaseModel):
    """What one kind of op takes of the time, on the device that is predicted to be the fastest."""

    model_config = _STRICT

    kind: str
    calls: int
    flops: float
    bytes: float
    flops_per_byte: float


class Choice(BaseModel):
    """Which hardware for a workload."""

    model_config = _STRICT

    schema_version: Literal[1] = 1
    model: str
    mode: str
    batch: int
    devices: int
    samples: int = Field(description="Samples of an epoch.")
    parameters: int
    flops_per_sample: float
    bytes_per_sample: float
    peak_bytes: float = Field(description="Memory of a step, as far as shapes tell it.")
    precision: PrecisionName = Field(
        description="Precision of the first candidate, in which these figures are counted."
    )
    workload: str = Field(description="The class of workloads whose measurements the prediction rests on.")
    measurements: int
    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    decides: tuple[Decides, ...]
    sentence: str
    anchor: str = ""
