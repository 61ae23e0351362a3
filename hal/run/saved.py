"""What a checkpoint says besides its arrays, checked by a model when it is read back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError, model_validator

from hal.contract.device import DeviceFacts
from hal.contract.plan import Plan
from hal.data import DataFacts
from hal.data.user_source import is_user_source
from hal.errors import CheckpointError
from hal.job.prepare import Job
from hal.run.checkpoint import Checkpoint
from hal.run.config import RunConfig
from hal.run.progress import Progress
from hal.run.record import Epoch
from hal.util.paths import user_path
from hal.util.seal import seal, sealed
from hal.workload import Workload

__all__ = ["SavedRun", "SavedSetup", "read_saved", "require_trusted_data", "require_trusted_model", "setup_of"]

Finite = Annotated[float, Field(allow_inf_nan=False)]

_STRICT = ConfigDict(frozen=True, extra="forbid")


class SavedProgress(BaseModel):
    """See :class:`hal.run.progress.Progress`."""

    model_config = _STRICT

    epoch: NonNegativeInt
    step: NonNegativeInt
    step_in_epoch: NonNegativeInt
    seconds: NonNegativeFloat = Field(allow_inf_nan=False)
    sums: dict[str, Finite]


class SavedSetup(BaseModel):
    """What a run learned from, with which model, under which plan, on which device: all that does not change in it."""

    model_config = _STRICT

    workload: Workload
    data: DataFacts
    plan: Plan
    device: DeviceFacts
    seal: str = Field(default="", description="Made by the user whose model is code in a file; see hal.util.seal.")
    data_seal: str = Field(default="", description="Likewise, where the data come from code in a file.")


class SavedRun(BaseModel):
    """The content of ``checkpoint.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # the checksum and the schema version are checked before

    step: NonNegativeInt
    config: dict[str, Any]
    position: SavedProgress
    batch: int = Field(ge=1)
    epochs: tuple[Epoch, ...]
    files: tuple[str, ...]
    setup: SavedSetup | None = Field(default=None, description="None: an earlier version of hal wrote the checkpoint.")

    @model_validator(mode="after")
    def _agrees(self) -> SavedRun:
        if self.position.step != self.step:
            raise ValueError(f"step {self.step} and position {self.position.step} differ")
        if not self.position.epoch <= len(self.epochs) <= self.position.epoch + 1:
            raise ValueError(f"{len(self.epochs)} epochs were measured, and {self.position.epoch} are over")
        return self

    def progress(self) -> Progress:
        """How far the training had come."""
        return Progress(**self.position.model_dump())


def read_saved(checkpoint: Checkpoint) -> SavedRun:
    """What a checkpoint says.

    Raises:
        CheckpointError: it does not say what a checkpoint should, although its checksum is right.
    """
    try:
        saved = SavedRun.model_validate(checkpoint.meta)
        if "model" in saved.config:
            RunConfig.model_validate(saved.config)
    except (ValidationError, RecursionError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        what = "it is nested too deeply" if first is None else f"{_place(first['loc'])}: {first['msg']}"
        raise CheckpointError(
            f"the checkpoint {checkpoint.path} does not contain what a run saves ({what})",
            fix="use an earlier checkpoint of the run, or start a new run without resume=",
        ) from error
    return saved


def _place(where: tuple[int | str, ...]) -> str:
    return ".".join(map(str, where)) or "checkpoint.json"


def setup_of(job: Job) -> SavedSetup:
    """The setup of a run, for its checkpoints."""
    code = _code_of(job.workload.model)
    source = _source_code_of(job.workload.data)
    return SavedSetup(
        workload=job.workload,
        data=DataFacts.of(job.split),
        plan=job.plan,
        device=DeviceFacts.of(job.device),
        seal="" if code is None else seal(code),
        data_seal="" if source is None else seal(source),
    )


def require_trusted_model(saved: SavedRun, named: bool, where: object) -> None:
    """Refuse to run a file only because a folder names it.

    Args:
        saved: names the model.
        named: whether the user has named the model too.
        where: the folder, for the message.

    Raises:
        CheckpointError: the model is code in a file, and this user did not write the checkpoint on this machine.
    """
    held = saved.config.get("model", {})
    name = str(held.get("name", "") if isinstance(held, dict) else held)
    code = _code_of(name)
    if code is None or named or (saved.setup is not None and sealed(code, saved.setup.seal)):
        return
    raise CheckpointError(
        f"{where} names its model as {name}, a file that would be run, and it was not written by you on this machine",
        fix=f"look at the file, then name it yourself: model={name}",
    )


def require_trusted_data(saved: SavedRun, named: bool, where: object) -> None:
    """Refuse to run a function only because a folder names it as the source of its data.

    Args:
        saved: names the data.
        named: whether the user has named the data too.
        where: the folder, for the message.

    Raises:
        CheckpointError: the data come from code in a file, and this user did not write the checkpoint on this machine.
    """
    held = saved.config.get("data", {})
    name = str((held.get("name") or "") if isinstance(held, dict) else held)
    code = _source_code_of(name)
    if code is None or named or (saved.setup is not None and sealed(code, saved.setup.data_seal)):
        return
    raise CheckpointError(
        f"{where} names its data as {name}, code that would be run, and it was not written by you on this machine",
        fix=f"look at the code, then name it yourself: data={name}",
    )


def _source_code_of(data: str) -> str | None:
    """What identifies the code of a source of data; None: the source is one of hal's own."""
    if not is_user_source(data):
        return None
    path, _, attribute = data.rpartition(":")
    return f"data {user_path(path).resolve() if path.endswith('.py') else path}:{attribute}"


def _code_of(model: str) -> str | None:
    """What identifies the code of a model in a file; None: the model is one of hal's own."""
    path, colon, attribute = model.rpartition(":")
    if not colon:
        return None
    return f"model {user_path(path).resolve() if path.endswith('.py') else path}:{attribute}"
