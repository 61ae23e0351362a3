"""The record of a run: one JSON file that says what ran, where, how, and with which results."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hal.contract.device import DeviceFacts
from hal.contract.plan import Plan
from hal.errors import DataError, NotFoundError
from hal.measure import Environment
from hal.util.files import write_whole
from hal.util.lock import in_use
from hal.util.reading import read_regular
from hal.workload import Workload

__all__ = ["EarlierPart", "Epoch", "Record", "Status", "now", "read_record"]

Status = Literal["running", "done", "interrupted", "failed", "killed"]
"""``killed``: the process ended without a word, by SIGKILL, a crash or a power cut. No process writes that of itself:
:func:`read_record` finds it out, and whoever resumes the run records it."""

_RECORD = "record.json"


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
    lr: float | None = Field(default=None, description="Learning rate of the epoch's last step.")


class EarlierPart(BaseModel):
    """What an earlier process did of a run that was resumed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: str
    ended: str | None = Field(description="None where it was killed.")
    status: Status


class Record(BaseModel):
    """What one run did: its workload, plan, device, versions, measurements, results and files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    status: Status
    started: str
    ended: str | None = None
    earlier: tuple[EarlierPart, ...] = Field(
        default=(), description="The processes that trained before this one, which resumed the run."
    )
    config: dict[str, Any]
    workload: Workload
    plan: Plan
    device: DeviceFacts
    environment: Environment
    parameters: int = Field(description="Number of parameters of the model, including frozen ones.")
    samples: dict[str, int] = Field(
        default_factory=dict, description="Number of training and of validation samples, as train and validation."
    )
    epochs: tuple[Epoch, ...] = ()
    metric: str = ""
    better: Literal["max", "min"] = Field(default="max", description="Whether a high or a low metric is good.")
    best: float | None = None
    best_epoch: int | None = Field(default=None, description="The first epoch with the best metric.")
    results: dict[str, float] = Field(
        default_factory=dict, description="Validation metrics of the last epoch, and what the model reports at the end."
    )
    text: str = ""
    peak_memory_bytes: int | None = None
    checkpoint: str | None = Field(default=None, description="The last one.")
    best_checkpoint: str | None = Field(
        default=None, description="The one that the trained model is used from: the best that was kept, or the last."
    )
    stopped_early: bool = Field(default=False, description="Whether patience= ended the run.")
    files: tuple[str, ...] = ()
    error: str | None = None

    def write(self, folder: Path) -> Path:
        """Write ``record.json`` whole into a folder."""
        path = folder / _RECORD
        write_whole(path, (self.model_dump_json(indent=1) + "\n").encode())
        return path

    def parts(self) -> tuple[EarlierPart, ...]:
        """All processes that trained, this record's own as the last."""
        return (*self.earlier, EarlierPart(started=self.started, ended=self.ended, status=self.status))


def read_record(folder: Path) -> Record:
    """The record of the run in a folder; of one whose process was killed, which left ``running`` behind, as ``killed``.

    Raises:
        NotFoundError: there is no record.
        DataError: it is damaged, or was written by another version of hal.
    """
    used = in_use(folder)  # first, since a run that ends meanwhile has written how
    try:
        record = Record.model_validate_json(read_regular(folder / _RECORD))
    except OSError as error:
        raise NotFoundError(f"there is no run in {folder}", fix="give the folder that hal run wrote") from error
    except ValidationError as error:
        raise DataError(f"{folder / _RECORD} is damaged, or was written by another version of hal") from error
    return record.model_copy(update={"status": "killed"}) if record.status == "running" and not used else record


def now() -> str:
    """The current time in UTC as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
