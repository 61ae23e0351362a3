"""What a checkpoint keeps of a training, and a training as it was when a checkpoint was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import optree

from hal.errors import CheckpointError, ConfigError
from hal.job.carry import (
    Carry,
    differences,
    fetch_array,
    initial_carry,
    make_carry,
    model_values,
    place_carry,
    start_averages,
)
from hal.job.prepare import Job
from hal.run import checkpoint as checkpoints
from hal.run.config import RunConfig
from hal.run.keeping import Kept
from hal.run.progress import Progress
from hal.run.record import Epoch
from hal.run.saved import SavedSetup, read_saved, setup_of
from hal.util.arrays import safetensors_chunks
from hal.util.files import write_whole
from hal.util.trees import paths

__all__ = [
    "TrainingState",
    "averaging_decay",
    "restore_training",
    "save_training",
    "start_training",
    "with_averages",
]


@dataclass
class TrainingState:
    """All of a training that changes while it runs, so that a checkpoint must keep it.

    Attributes:
        carry: on the devices of the job.
        setup: what does not change, which each checkpoint repeats, so that it needs nothing else.
        progress: how far it has come.
        history: the epochs that were measured.
        files: what the model wrote.
        saved: the last checkpoint; None: there is none yet.
    """

    carry: Carry
    setup: SavedSetup
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
    return TrainingState(place_carry(job, initial_carry(job, seed)), setup_of(job))


def restore_training(
    job: Job,
    checkpoint: checkpoints.Checkpoint,
    accept: Sequence[str] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> TrainingState:
    """A training as it was when a checkpoint was written, on the devices of a job, which may be others.

    Args:
        job: what runs where.
        checkpoint: what it goes on from.
        accept: differences that the user accepts: ``data``.
        tell: called with a sentence about each difference that was accepted.

    Raises:
        CheckpointError: the checkpoint is of another model, or the data are not those that the run learned from.
        ConfigError: the checkpoint cannot be continued with this batch size.
    """
    saved, batch = read_saved(checkpoint), job.plan.batch
    if saved.position.step_in_epoch and saved.batch != batch:
        raise ConfigError(
            f"the checkpoint was written in the middle of an epoch with batch={saved.batch} and cannot be continued "
            f"with batch={batch}",
            fix=f"resume with batch={saved.batch}",
        )
    setup = setup_of(job)
    changed = [] if saved.setup is None else saved.setup.data.differences(setup.data)
    held = {name: checkpoint.carry.get(name, {}) for name in ("params", "state", "optimizers", "scale")}
    differ = differences(job.params, held["params"])
    if differ and changed and saved.setup is not None and saved.setup.workload.keys == job.workload.keys:
        raise CheckpointError(
            f"the data are not those that the run learned from, and its model does not fit them: {'; '.join(changed)}",
            fix="resume with the same data=, or start a new run without resume=",
        )
    if len(differ) > 0:
        others = f", and {len(differ) - 1} more arrays differ" if len(differ) > 1 else ""
        raise CheckpointError(
            f"the checkpoint is of another model: {differ[0].describe('the checkpoint', job.workload.model)}{others}",
            fix="resume with the model and the model.<key> values that the run started with",
        )
    if saved.setup is None:
        tell("this checkpoint does not say which data it learned from, so that was not checked")
    else:
        _compare_data(changed, accept, tell)
    averages = checkpoint.carry.get("averages")
    if averages is not None:  # a state without arrays is not stored
        averages = {"params": averages["params"], "state": averages.get("state", {})}
    return TrainingState(
        place_carry(job, make_carry(job.plan.precision, **held, averages=averages)),
        setup,
        saved.progress(),
        list(saved.epochs),
        [Path(path) for path in saved.files],
        checkpoint.path,
    )


def _compare_data(differ: Sequence[str], accept: Sequence[str], tell: Callable[[str], None]) -> None:
    if not differ:
        return
    if "data" not in accept:
        raise CheckpointError(
            f"the data are not those that the run learned from: {'; '.join(differ)}",
            fix="resume with the same data=, data.validation= and seed=, or accept the difference with accept=data",
        )
    tell(f"accepted with accept=data: {'; '.join(differ)}")


def with_averages(job: Job, carry: Carry, ema: float | None, tell: Callable[[str], None]) -> Carry:
    """The carry of a training with moving averages exactly where the key ``ema`` asks for them.

    Args:
        job: what runs where.
        carry: on the devices of the job.
        ema: the key's value.
        tell: called with a sentence where a run that goes on begins or drops its averages.
    """
    if (ema is not None) == bool(carry["averages"]):
        return carry
    if ema is None:
        tell("ema= is not set any more, so the moving averages of the parameters are dropped")
        return {**carry, "averages": {}}
    whole: Any = optree.tree_map(job.backend.to_host, job.group.gather_params(carry))
    started = start_averages(whole)
    return place_carry(job, started)


def averaging_decay(ema: float | None, step: int) -> float:
    """The share of the moving averages that remains in a step; less at first, as values change fast then.

    ``min(ema, (1 + step) / (10 + step))``, as in TensorFlow's ExponentialMovingAverage.
    """
    return 0.0 if ema is None else min(ema, (1 + step) / (10 + step))


def save_training(
    job: Job, config: RunConfig, state: TrainingState, folder: Path, kept: Kept, *, measured: bool = True
) -> None:
    """Write a checkpoint of a training; called by all processes of a run, and written by rank 0.

    Args:
        job: what runs where.
        config: the keys of the run, with which it can be resumed.
        state: what to keep; its ``saved`` becomes the new checkpoint.
        folder: of the run.
        kept: which of the earlier checkpoints remain.
        measured: whether the checkpoint is known to be good; until then, one more of the earlier ones remains.
    """
    weights = job.model.portable_weights(*model_values(state.carry))
    if job.group.rank != 0:
        _take_part(job, state.carry)
        if weights is not None and job.group.broadcast_int(0):
            _take_part(job, weights)
        return
    fetch = partial(fetch_array, job)
    there = [*checkpoints.saved_steps(folder / "checkpoints"), state.progress.step]
    best = kept.best_step(state.history, there)
    meta = {
        "best": best,
        "config": config.model_dump(mode="json", exclude_unset=True),
        "position": vars(state.progress),
        "batch": job.plan.batch,
        "epochs": [epoch.model_dump(mode="json") for epoch in state.history],
        "files": [str(path) for path in state.files],
        "setup": state.setup.model_dump(mode="json"),
    }
    state.saved = checkpoints.save(
        folder / "checkpoints",
        checkpoints.Checkpoint(state.progress.step, dict(state.carry), meta),
        last=None if kept.last is None else kept.last + (not measured),
        steps=kept.steps(state.history, state.progress.epoch, there),
        fetch=fetch,
    )
    if weights is not None and job.group.broadcast_int(int(best in (None, state.progress.step))):
        write_whole(folder / "model.safetensors", safetensors_chunks(weights, fetch))


def _take_part(job: Job, arrays: Mapping[str, Any]) -> None:
    """Take part in gathering arrays, in the order in which rank 0 writes them."""
    for _, array in paths(arrays):
        job.group.gather_params(array)
