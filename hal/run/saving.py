"""What a checkpoint keeps of a training, and a training as it was when a checkpoint was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hal.errors import CheckpointError, ConfigError
from hal.job.carry import Carry, differences, fetch_carry, initial_carry, make_carry, place_carry
from hal.job.prepare import Job
from hal.run import checkpoint as checkpoints
from hal.run.config import RunConfig
from hal.run.progress import Progress
from hal.run.record import Epoch

__all__ = ["TrainingState", "restore_training", "save_training", "start_training"]


@dataclass
class TrainingState:
    """All of a training that changes while it runs, so that a checkpoint must keep it.

    Attributes:
        carry: on the devices of the job.
        progress: how far it has come.
        history: the epochs that were measured.
        files: what the model wrote.
        saved: the last checkpoint; None: there is none yet.
    """

    carry: Carry
    progress: Progress = field(default_factory=Progress)
    history: list[Epoch] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    saved: Path | None = None


def start_training(job: Job, seed: int) -> TrainingState:
    """A training before its first step.

    Args:
        job: what runs where.
        seed: what the initial values are drawn from.
    """
    return TrainingState(place_carry(job, initial_carry(job, seed)))


def restore_training(job: Job, checkpoint: checkpoints.Checkpoint) -> TrainingState:
    """A training as it was when a checkpoint was written, on the devices of a job, which may be others.

    Raises:
        CheckpointError: the checkpoint is of another model.
        ConfigError: the checkpoint cannot be continued with this batch size.
    """
    meta, batch = checkpoint.meta, job.plan.batch
    progress = Progress(**meta["position"])
    if progress.step_in_epoch and meta["batch"] != batch:
        raise ConfigError(
            f"the checkpoint was written in the middle of an epoch with batch={meta['batch']} and cannot be continued "
            f"with batch={batch}",
            fix=f"resume with batch={meta['batch']}",
        )
    held = {name: checkpoint.carry.get(name, {}) for name in ("params", "state", "optimizers", "scale")}
    differ = differences(job.params, held["params"])
    if differ:
        others = f", and {len(differ) - 1} more arrays differ" if len(differ) > 1 else ""
        raise CheckpointError(
            f"the checkpoint is of another model: {differ[0].describe('the checkpoint', job.workload.model)}{others}",
            fix="resume with the model and the model.<key> values that the run started with",
        )
    return TrainingState(
        place_carry(job, make_carry(job.plan.precision, **held)),
        progress,
        [Epoch.model_validate(epoch) for epoch in meta["epochs"]],
        [Path(path) for path in meta["files"]],
        checkpoint.path,
    )


def save_training(job: Job, config: RunConfig, state: TrainingState, folder: Path) -> None:
    """Write a checkpoint of a training; called by all processes of a run, and written by rank 0.

    Args:
        job: what runs where.
        config: the keys of the run, with which it can be resumed.
        state: what to keep; its ``saved`` becomes the new checkpoint.
        folder: of the run.
    """
    carry = fetch_carry(job, state.carry)
    if carry is None:
        return
    meta = {
        "config": config.model_dump(mode="json", exclude_unset=True),
        "position": vars(state.progress),
        "batch": job.plan.batch,
        "epochs": [epoch.model_dump(mode="json") for epoch in state.history],
        "files": [str(path) for path in state.files],
    }
    kept = checkpoints.Checkpoint(state.progress.step, dict(carry), meta)
    state.saved = checkpoints.save(folder / "checkpoints", kept)
