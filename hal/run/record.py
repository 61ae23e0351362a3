"""The record of a run: one JSON file that says what ran, where, how, and with which results."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hal.contract.device import DeviceFacts
from hal.contract.plan import Plan
from hal.measure import Environment
from hal.util.files import write_whole
from hal.workload import Workload

__all__ = ["Epoch", "Record", "now"]


class Epoch(BaseModel):
    """One pass over the training data, and what was measured after it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    phase: str
    step: int = Field(description="Optimizer steps since the start of the run, at the end of the epoch.")
    train: dict[str, float] = Field(description="Means over the steps of the epoch.")
    validation: dict[str, float] = Field(description="Means over the validation samples, and the model's own metrics.")
    seconds: float = Field(description="Time in the training steps in seconds, including the data path.")
    samples_per_s: float = Field(description="Training throughput in samples/s.")


class Record(BaseModel):
    """What one run did: its workload, plan, device, versions, measurements, results and files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    status: Literal["running", "done", "interrupted", "failed"]
    started: str
    ended: str | None = None
    config: dict[str, Any]
    workload: Workload
    plan: Plan
    device: DeviceFacts
    environment: Environment
    parameters: int = Field(description="Number of parameters of the model, including frozen ones.")
    epochs: tuple[Epoch, ...] = ()
    metric: str = ""
    best: float | None = None
    results: dict[str, float] = Field(
        default_factory=dict, description="Validation metrics of the last epoch, and what the model reports at the end."
    )
    text: str = ""
    peak_memory_bytes: int | None = None
    checkpoint: str | None = None
    files: tuple[str, ...] = ()
    error: str | None = None

    def write(self, folder: Path) -> Path:
        """Write ``record.json`` whole into a folder."""
        path = folder / "record.json"
        write_whole(path, (self.model_dump_json(indent=1) + "\n").encode())
        return path


def now() -> str:
    """The current time in UTC as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
