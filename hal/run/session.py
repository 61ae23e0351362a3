"""A whole run around a training: its folder, its processes, its record, and how it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optree

from hal.config import build
from hal.contract.device import DeviceFacts
from hal.data import class_weights
from hal.errors import ConfigError, DataError, InUseError, NotFoundError
from hal.job.errors import classified
from hal.job.prepare import Job, prepare
from hal.job.statistics import check_statistics
from hal.measure import EnvironmentWatch
from hal.nn import Param
from hal.processes.launch import launch, pinned
from hal.processes.rendezvous import leads
from hal.run.auxiliaries import train_auxiliaries
from hal.run.checkpoint import Checkpoint, copy_best, latest
from hal.run.checkpoint import best as best_checkpoint
from hal.run.config import RunConfig
from hal.run.epoch_table import write_epoch_table
from hal.run.interrupt import Interrupt
from hal.run.keeping import Metric
from hal.run.observer import LastingObserver, Observers, RunObserver
from hal.run.record import EarlierPart, Epoch, Record, Status, now, read_record
from hal.run.resuming import find_resume_point
from hal.run.trackers import trackers_for
from hal.run.trainer import Trainer, TrainingOutcome
from hal.util.files import make_folder, new_folder, write_whole
from hal.util.lock import locked, require_free
from hal.util.paths import user_path
from hal.workload import short_name

__all__ = ["run", "run_worker"]

_DECODED = 2000
"""Training samples up to this number are all decoded before the first step; of more, only the beginnings are read."""
_WAIT = "wait until that run ends, or choose another out="


def run(config: RunConfig, observer: RunObserver | None = None) -> Record:
    """Train, evaluate and save; with ``resume``, go on as if the run had never stopped.

    Args:
        config: what to do; :func:`hal.run.resumed` makes it from keys that may name a run to resume.
        observer: is told what happens; None: nobody is.

    Returns:
        The record, also written to the run's folder.

    Raises:
        RequestError: the request is wrong; nothing was written.
        UnavailableError: the backend or device is not here; nothing was written.
        HalError: the run failed; the record says so, earlier checkpoints are as they were.
    """
    at = None if config.resume is None else find_resume_point(config.resume)
    resume, own = (None, None) if at is None else (at.checkpoint, at.folder)
    asked = user_path(config.out) if config.out else own
    if asked is not None and leads():
        require_free(asked, _WAIT)
    earlier = () if own is None else _earlier_parts(own)
    job = _with_targets(prepare(config), config)
    first = leads() and job.group.rank == 0
    watch = RunObserver()
    if first:
        told = LastingObserver(observer) if observer is not None else RunObserver()
        watch = Observers([told, *trackers_for(config.log, told.note)])
    folder = asked or new_folder(short_name(job.workload.model), job.device.backend)
    if first:
        _check_folder(folder, own)
        for part, whole in ((job.split.validation, True), (job.split.train, len(job.split.train) <= _DECODED)):
            part.check(whole=whole)
        check_statistics(job)
    with contextlib.ExitStack() as stack:
        if first:
            stack.enter_context(_taken(folder))
            _check_folder(folder, own)
            if config.resume is not None and own is not None and _same(folder, own):
                _check_still_last(config.resume, resume, own)
        task = {"keys": pinned(config, job), "folder": str(folder)}
        job = stack.enter_context(launch(job, "hal.run.session:run_worker", task))
        stack.enter_context(classified(job.backend))
        stack.enter_context(job.backend.settings(job.plan, job.device))
        interrupt = stack.enter_context(Interrupt(watch.note))
        return _Session(job, config, folder, watch, earlier).run(resume, interrupt)


def _with_targets(job: Job, config: RunConfig) -> Job:
    """The job whose model learns from smoothed labels, if the keys ask for it.

    Raises:
        ConfigError: the loss of the model is its own, or the data has no classes that could be weighted.
    """
    if config.class_weights is not None:
        class_weights(job.split.train, config.class_weights)
        if not job.model.takes_weights:
            raise ConfigError(
                f"class_weights= is for models whose loss hal computes from labels; model={job.workload.model} has its "
                "own loss",
                fix="leave class_weights= out, or weigh the classes in the model's loss",
            )
    if not config.label_smoothing:
        return job
    return replace(job, model=job.model.with_label_smoothing(config.label_smoothing))


def _earlier_parts(folder: Path) -> tuple[EarlierPart, ...]:
    """The processes that trained the run in a folder so far; none where its record cannot be read."""
    with contextlib.suppress(DataError, NotFoundError):
        return read_record(folder).parts()
    return ()


def _check_folder(folder: Path, own: Path | None) -> None:
    """Refuse a folder that holds something else.

    Args:
        folder: where the run will write.
        own: the folder of the run that is resumed.

    Raises:
        ConfigError: it holds another run, or files that are no run.
    """
    if own is not None and _same(folder, own):
        return
    if (folder / "record.json").exists():
        raise ConfigError(
            f"out={folder} already holds a run, which is not overwritten",
            fix=f"choose another out=, or continue that run with resume={folder}"
            if (folder / "checkpoints").is_dir()
            else "choose another out=, or remove the folder: that run stopped before its first checkpoint",
        )
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ConfigError(
            f"out={folder} already contains other files, and a run writes only to a folder of its own",
            fix="choose a new or an empty folder for out=",
        )


def _check_still_last(asked: str, resume: Checkpoint | None, own: Path) -> None:
    """Refuse to go on from a checkpoint that was the last before the lock was taken, and is no longer."""
    if resume is not None and latest(user_path(asked)) != resume.path:
        raise InUseError(
            f"another process has continued the run in {own} meanwhile",
            fix="run the command again to continue from where that process ended",
        )


def _same(folder: Path, other: Path) -> bool:
    return folder.resolve() == other.resolve()


@contextlib.contextmanager
def _taken(folder: Path) -> Iterator[None]:
    """The run's folder, made and locked for the time of a block; removed again if nothing was written to it."""
    new = not folder.exists()
    make_folder(folder)
    try:
        with locked(folder, _WAIT):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # it is not empty, as after every run that began
                folder.rmdir()


def run_worker(keys: Mapping[str, Any], folder: str) -> None:
    """Take part in a run of several processes as one of a rank above 0.

    Args:
        keys: of the run.
        folder: of the run; rank 0 alone writes there.
    """
    run(build(RunConfig, {**keys, "out": folder}))


class _Session:
    """One run in one process: the record before, while and after a training."""

    def __init__(
        self, job: Job, config: RunConfig, folder: Path, observer: RunObserver, earlier: tuple[EarlierPart, ...]
    ) -> None:
        self.job, self.config, self.folder, self.observer = job, config, folder, observer
        self.earlier = earlier
        self.environment = EnvironmentWatch(job.backend.versions())
        self.started = now()

    def run(self, resume: Checkpoint | None, interrupt: Interrupt) -> Record:
        job = self.job
        trainer = Trainer(job, self.config, self.folder, self.observer, resume)
        if resume is not None and job.group.rank == 0:
            copy_best(resume, self.folder / "checkpoints")
        self._write(self._record("running"))
        if job.split.skipped and job.group.rank == 0:
            write_whole(self.folder / "skipped.txt", ("\n".join(job.split.skipped) + "\n").encode())
        trainer.after_epoch = self._tell_epochs
        job.backend.reset_peak_memory(job.device)
        try:
            self.observer.started(job, self.folder, trainer.epochs, resume.step if resume else None)
            if job.origin:
                self.observer.note(job.origin)
            if self.earlier and self.earlier[-1].status == "killed":
                self.observer.note(
                    f"the process that trained this run before, since {self.earlier[-1].started}, was killed or "
                    "crashed; what it did after its last checkpoint is done again"
                )
            if trainer.state.progress.epoch >= trainer.epochs:
                self.observer.note(
                    f"this run has already finished its {trainer.epochs} epochs; to train further, set more epochs, "
                    f"for example epochs={2 * trainer.epochs}"
                )
            trainer.auxiliary = train_auxiliaries(job, self.config.seed, self.folder, self.observer, interrupt)
            training = trainer.run(interrupt)
        except BaseException as error:
            named = job.explain(error) or job.backend.classify(error) or error
            partial = {
                "epochs": tuple(trainer.state.history),
                **_judged(trainer.state.history, trainer.kept.metric),
                "checkpoint": _text(trainer.state.saved),
                "error": str(named) or type(named).__name__,
            }
            status: Status = "failed"
            if isinstance(error, KeyboardInterrupt):
                status, partial["error"] = "interrupted", "stopped by a second Ctrl-C, without saving"
            with contextlib.suppress(OSError):  # what stopped the run matters more
                self._write(self._record(status, **partial))
            with contextlib.suppress(OSError):
                self.observer.failed(self._record(status, **partial), self.folder)
            raise
        record = self._record("interrupted" if training.interrupted else "done", **self._outcome(training))
        self._write(record)
        self.observer.ended(record, self.folder)
        return record

    def _tell_epochs(self, epochs: tuple[Epoch, ...], metric: Metric) -> None:
        """Bring the record and the table of epochs up to date, for those who look at a run that is at work."""
        if self.job.group.rank == 0:
            with contextlib.suppress(OSError):  # the checkpoints matter, and they are written
                write_epoch_table(epochs, self.folder)
                self._record("running", epochs=epochs, **_judged(epochs, metric)).write(self.folder)

    def _write(self, record: Record) -> None:
        if self.job.group.rank == 0:
            make_folder(self.folder)
            record.write(self.folder)

    def _outcome(self, training: TrainingOutcome) -> dict[str, Any]:
        kept = None if training.checkpoint is None else best_checkpoint(self.folder)
        results = dict(training.epochs[-1].validation) if training.epochs else {}
        return {
            "epochs": training.epochs,
            **_judged(training.epochs, training.metric),
            "stopped_early": training.stopped_early,
            "results": {**results, **training.report.metrics},
            "text": training.report.text,
            "peak_memory_bytes": self.job.group.peak_memory(),
            "checkpoint": _text(training.checkpoint),
            "best_checkpoint": _text(kept),
            "files": tuple(str(path) for path in training.files),
        }

    def _record(self, status: Status, **more: Any) -> Record:
        job = self.job
        fields: dict[str, Any] = {
            "status": status,
            "started": self.started,
            "ended": None if status == "running" else now(),
            "earlier": self.earlier,
            "config": self.config.model_dump(mode="json", exclude_unset=True),
            "workload": job.workload,
            "plan": job.plan,
            "device": DeviceFacts.of(job.device),
            "environment": self.environment.stop(),
            "samples": {"train": len(job.split.train), "validation": len(job.split.validation)},
            "parameters": sum(int(np.prod(p.shape)) for p in _params(job.params)),
        }
        return Record.model_validate({**fields, **more})


def _judged(epochs: Sequence[Epoch], metric: Metric) -> dict[str, Any]:
    """The best of some epochs, as the record says it."""
    best = metric.best(epochs)
    return {
        "metric": metric.name,
        "better": metric.better,
        "best": None if best is None else best.validation[metric.name],
        "best_epoch": None if best is None else best.epoch,
    }


def _params(specs: Mapping[str, Any]) -> list[Param]:
    leaves: list[Any] = optree.tree_leaves(dict(specs))  # type: ignore[arg-type]
    return [leaf for leaf in leaves if isinstance(leaf, Param)]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
