"""A whole run around a training: its folder, its record, the models it depends on, and how it ends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optree

from hal.config import build
from hal.contract.device import DeviceFacts
from hal.errors import CheckpointError, ConfigError
from hal.job.errors import classified
from hal.job.prepare import Job, prepare
from hal.measure import EnvironmentWatch
from hal.nn import Auxiliary, Param, TrainedModel
from hal.processes.launch import launch, pinned
from hal.processes.rendezvous import leads
from hal.run import checkpoint as checkpoints
from hal.run.config import RunConfig
from hal.run.interrupt import Interrupt
from hal.run.observer import Observer
from hal.run.record import Record, now
from hal.run.trainer import Trainer, Training
from hal.util.files import make_folder, new_folder
from hal.workload import short_name

__all__ = ["resumed", "run"]


def resumed(keys: Mapping[str, Any]) -> RunConfig:
    """A config from keys; with ``resume``, over the keys of the run that is resumed.

    Where that run wrote is no key of the new one: its folder may have been moved since.

    Raises:
        ConfigError: a key or value is wrong.
        NotFoundError: there is no checkpoint to resume from.
        CheckpointError: it is damaged, or of another model.
    """
    if keys.get("resume") is None:
        return build(RunConfig, keys)
    at = checkpoints.latest(Path(str(keys["resume"])).expanduser())
    saved = {key: value for key, value in checkpoints.load(at).meta["config"].items() if key not in ("out", "resume")}
    if "model" not in saved:
        raise CheckpointError(
            f"{at} belongs to a run that serves another", fix="resume the run whose folder it lies in"
        )
    if "backend" in keys or "device" in keys:  # another machine: what was chosen there says nothing here
        saved = {key: value for key, value in saved.items() if key not in ("backend", "device")}
    merged = _over(saved, keys)
    trained, wanted = saved["model"]["name"], merged["model"]["name"]
    if wanted != trained:
        raise CheckpointError(
            f"the checkpoint {at} is of model={trained}, and model={wanted} was asked for",
            fix="leave model= out, or start anew without resume=",
        )
    return build(RunConfig, merged)


def _over(base: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in keys.items():
        inner = merged.get(name)
        given = {"name": value} if isinstance(inner, Mapping) and isinstance(value, str) else value
        merged[name] = _over(inner, given) if isinstance(inner, Mapping) and isinstance(given, Mapping) else given
    return merged


def run(config: RunConfig, observer: Observer | None = None) -> Record:
    """Train, evaluate and save; with ``resume``, go on as if nothing had happened.

    Args:
        config: what to do; see :func:`resumed` for keys that name a run to resume.
        observer: who is told while it runs.

    Returns:
        The record, also written to the run's folder.

    Raises:
        RequestError: the request is wrong; nothing was written.
        UnavailableError: the backend or device is not here; nothing was written.
        HalError: the run failed; the record says so, earlier checkpoints are as they were.
    """
    resume = own = None
    if config.resume is not None:
        at = checkpoints.latest(Path(config.resume).expanduser())
        resume, own = checkpoints.load(at), _run_folder(at)
    job = prepare(config)
    first = leads() and job.group.rank == 0
    watch = observer or Observer() if first else Observer()
    asked = Path(config.out).expanduser() if config.out else own
    folder = asked or new_folder(short_name(job.workload.model), job.device.backend)
    if first and (folder / "record.json").exists() and (own is None or folder.resolve() != own.resolve()):
        raise ConfigError(
            f"out={folder} holds a run already, which stays as it is",
            fix=f"choose another out=, or go on with it: resume={folder}"
            if (folder / "checkpoints").is_dir()
            else "it stopped before its first checkpoint: choose another out=, or remove the folder",
        )
    with contextlib.ExitStack() as stack:
        task = {"keys": pinned(config, job), "folder": str(folder)}
        job = stack.enter_context(launch(job, "hal.run.session:run_worker", task))
        stack.enter_context(classified(job.backend))
        stack.enter_context(job.backend.settings(job.plan, job.device))
        interrupt = stack.enter_context(Interrupt(watch.note))
        return _Session(job, config, folder, watch).run(resume, interrupt)


def run_worker(keys: Mapping[str, Any], folder: str) -> None:
    """Take part in a run that rank 0 leads.

    Args:
        keys: of the run.
        folder: where rank 0 writes.
    """
    run(build(RunConfig, {**keys, "out": folder}))


class _Session:
    def __init__(self, job: Job, config: RunConfig, folder: Path, observer: Observer) -> None:
        self.job, self.config, self.folder, self.observer = job, config, folder, observer
        self.environment = EnvironmentWatch(job.backend.versions())
        self.started = now()

    def run(self, resume: checkpoints.Checkpoint | None, interrupt: Interrupt) -> Record:
        job = self.job
        trainer = Trainer(job, self.config, self.folder, self.observer, {}, resume)
        self._write(self._record("running"))
        job.backend.reset_peak_memory(job.device)
        try:
            self.observer.started(job, self.folder, trainer.epochs, resume.step if resume else None)
            if job.origin:
                self.observer.note(job.origin)
            if trainer.position.epoch >= trainer.epochs:
                more = f"epochs={2 * trainer.epochs}"
                self.observer.note(f"this run had finished its {trainer.epochs} epochs; to go on, give more: {more}")
            trainer.auxiliary = self._auxiliaries(interrupt)
            training = trainer.run(interrupt)
        except BaseException as error:
            named = job.explain(error) or job.backend.classify(error) or error
            partial = {
                "epochs": tuple(trainer.history),
                "checkpoint": _text(trainer.saved),
                "error": str(named) or type(named).__name__,
            }
            with contextlib.suppress(OSError):  # what stopped the run matters more
                self._write(self._record("failed", **partial))
            raise
        record = self._record("interrupted" if training.interrupted else "done", **self._outcome(training))
        self._write(record)
        self.observer.ended(record, self.folder)
        return record

    def _write(self, record: Record) -> None:
        if self.job.group.rank == 0:
            make_folder(self.folder)
            record.write(self.folder)

    def _auxiliaries(self, interrupt: Interrupt) -> dict[str, TrainedModel]:
        """Train what the model is judged by, or take it from an earlier part of this run."""
        found = {}
        for name, auxiliary in type(self.job.model).auxiliaries.items():
            if self.job.split.train.labels is None:
                self.observer.note(f"{name}: not trained, since the data has no classes; its numbers are left out")
                continue
            found[name] = self._auxiliary(name, auxiliary, interrupt)
            if interrupt.heard:
                break
        return found

    def _auxiliary(self, name: str, auxiliary: Auxiliary, interrupt: Interrupt) -> TrainedModel:
        job, cls = self.job, auxiliary.model
        keys = cls.Config.model_validate(
            {k: v for k, v in job.model.config.model_dump().items() if k in ("size", "channels")}
        )
        defaults = cls.defaults_for(keys)
        model = cls(keys, job.split.train)
        count = math.prod(job.plan.spread().values())
        batch = min(defaults.batch, len(job.split.train)) // count * count
        plan = job.plan.model_copy(update={"batch": batch, "accumulate": 1}).resolve(job.device)
        inner = replace(
            job, model=model, params=model.params(), state=model.state(), plan=plan, defaults=defaults, augment=()
        )
        config = RunConfig.model_validate({"epochs": auxiliary.epochs, "seed": self.config.seed})
        folder = self.folder / f"auxiliary-{name}"
        done = folder / "checkpoints"
        resume = checkpoints.load(checkpoints.latest(folder)) if done.is_dir() else None
        if resume is None:
            self.observer.note(f"{name}: training a {cls.__name__} for {auxiliary.epochs} epochs to judge by")
        return Trainer(inner, config, folder, Observer(), {}, resume).run(interrupt).trained

    def _outcome(self, training: Training) -> dict[str, Any]:
        name, better = type(self.job.model).metric_for(self.job.model.config)
        seen = [e.validation[name] for e in training.epochs if name in e.validation]
        results = dict(training.epochs[-1].validation) if training.epochs else {}
        return {
            "epochs": training.epochs,
            "metric": name,
            "best": (max(seen) if better == "max" else min(seen)) if seen else None,
            "results": {**results, **training.report.metrics},
            "text": training.report.text,
            "peak_memory_bytes": self.job.group.peak_memory(),
            "checkpoint": _text(training.checkpoint),
            "files": tuple(str(path) for path in training.files),
        }

    def _record(self, status: str, **more: Any) -> Record:
        job = self.job
        fields: dict[str, Any] = {
            "status": status,
            "started": self.started,
            "ended": None if status == "running" else now(),
            "config": self.config.model_dump(mode="json", exclude_unset=True),
            "workload": job.workload,
            "plan": job.plan,
            "device": DeviceFacts.of(job.device),
            "environment": self.environment.stop(),
            "parameters": sum(int(np.prod(p.shape)) for p in _params(job.params)),
        }
        return Record.model_validate({**fields, **more})


def _params(specs: Mapping[str, Any]) -> list[Param]:
    leaves: list[Any] = optree.tree_leaves(dict(specs))  # type: ignore[arg-type]
    return [leaf for leaf in leaves if isinstance(leaf, Param)]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _run_folder(at: Path) -> Path | None:
    """The run that a checkpoint belongs to; None: it was moved out of one."""
    return at.parent.parent if at.parent.name == "checkpoints" else None
