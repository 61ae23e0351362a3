"""What one run did, as one JSON file."""

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
    step: int = Field(description="optimizer steps done at its end")
    train: dict[str, float] = Field(description="means over the epoch's steps")
    validation: dict[str, float] = Field(description="means over the validation samples, and the model's own numbers")
    seconds: float = Field(description="time in training steps, the data path included")
    samples_per_s: float = Field(description="training throughput")


class Record(BaseModel):
    """What one run did: workload, plan, device, versions, measurements, metrics, artifacts."""

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
    parameters: int = Field(description="numbers that training can move, and frozen ones")
    epochs: tuple[Epoch, ...] = ()
    metric: str = ""
    best: float | None = None
    results: dict[str, float] = Field(default_factory=dict, description="the last epoch's validation numbers and more")
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
    """This moment as ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
