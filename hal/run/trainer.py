"""Trains, evaluates and saves a job: what ``hal run`` does, without a word to the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optree

from hal.contract import Group
from hal.data import Dataset, Split, batches, count_batches
from hal.errors import CheckpointError, ConfigError, NumericsError
from hal.job.features import Features
from hal.job.placing import feeding, place, put_batch
from hal.job.precision import cast_inputs, cast_params, initial_scale
from hal.job.prepare import Job
from hal.job.step import Step, evaluation, trained_names
from hal.nn import Objective, Phase, Report, TrainedModel, TrainingView
from hal.run import checkpoint as checkpoints
from hal.run.config import RunConfig
from hal.run.interrupt import Interrupt
from hal.run.observer import Observer
from hal.run.record import Epoch
from hal.tensor.optimizers import Optimizer, Slots
from hal.types import Array, Tree
from hal.util.files import write_whole

__all__ = ["Progress", "Trainer", "Training"]

_ANSWER_S = 0.3
"""Within about so much time the processes of a run answer an interrupt."""


@dataclass
class Progress:
    """Where a training is. ``sums`` are over the steps of the epoch under way."""

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """How a training ended."""

    interrupted: bool
    epochs: tuple[Epoch, ...]
    report: Report
    checkpoint: Path | None
    trained: TrainedModel
    files: tuple[Path, ...]


class Trainer:
    """One training of a job.

    Args:
        job: what and where.
        config: how long and how.
        folder: where checkpoints and files go.
        observer: who is told.
        auxiliary: trained models that the job's model is judged by.
        resume: a checkpoint to go on from.

    Raises:
        CheckpointError: the checkpoint is of another model.
        ConfigError: the checkpoint cannot be continued with these keys.
    """

    def __init__(
        self,
        job: Job,
        config: RunConfig,
        folder: Path,
        observer: Observer,
        auxiliary: Mapping[str, TrainedModel],
        resume: checkpoints.Checkpoint | None = None,
    ) -> None:
        self.job, self.config, self.folder, self.observer = job, config, folder, observer
        self.auxiliary = auxiliary
        self.per_epoch = count_batches(len(job.split.train), job.plan.batch)
        epochs = config.epochs or (math.ceil(config.steps / self.per_epoch) if config.steps else job.defaults.epochs)
        self.phases = job.model.phases(epochs)
        self.lr = config.lr or job.defaults.lr
        self.schedule = config.schedule or job.defaults.schedule
        self.optimizer_name = config.optimizer.name or job.defaults.optimizer
        self.optimizer = job.group.optimizer(_optimizer(job, config, self.optimizer_name))
        self.key = job.backend.rng(config.seed, job.device)
        self.position = Progress()
        self.history: list[Epoch] = []
        self.files: list[Path] = []
        self.saved: Path | None = None if resume is None else resume.path
        if resume is None:
            params, state = job.model.initial(config.seed)
            carry: dict[str, Any] = {"params": params, "state": state, "optimizers": {}}
            carry["scale"] = initial_scale(job.plan.precision)
        else:
            carry = self._restored(resume)
        self.carry = self._placed(carry)

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def run(self, interrupt: Interrupt) -> Training:
        """Train to the end, or until an interrupt.

        Raises:
            NumericsError: the loss is not finite; the last checkpoint stays as it was.
            HalError: what the backend made of a failure.
        """
        first = 0
        for index, phase in enumerate(self.phases):
            if self.position.epoch < first + phase.epochs and not self._finished():
                self._train_phase(phase, first, interrupt)
            first += phase.epochs
            if interrupt.heard:
                break
            if index + 1 < len(self.phases) and self.position.epoch == first and self.position.step_in_epoch == 0:
                self.carry["optimizers"] = {}
        interrupted = interrupt.heard and not self._finished() and self.position.epoch < self.epochs
        report = Report() if interrupted else self.job.model.run_end(self._view(self.job.split))
        self._keep(report)
        trained = TrainedModel(self.job.model, self.job.group.gather_params(self.carry["params"]), self.carry["state"])
        return Training(interrupted, tuple(self.history), report, self.saved, trained, tuple(self.files))

    def _finished(self) -> bool:
        return self.config.steps is not None and self.position.step >= self.config.steps

    # One phase

    def _train_phase(self, phase: Phase, first: int, interrupt: Interrupt) -> None:
        job = self.job
        split, cached = self._features(phase)
        for objective in phase.objectives:
            found = self.carry["optimizers"].get(objective.name)
            if found is not None and set(found) == {"step", *Slots[self.optimizer_name]}:
                continue
            if found is not None:
                self.observer.note(f"optimizer={self.optimizer_name} starts anew: the checkpoint is of another one")
            self.carry["optimizers"][objective.name] = self.optimizer.init(self._trained(objective))
        step = Step(
            job.group,
            job.model,
            phase,
            job.plan,
            self.optimizer,
            job.params,
            augmentations=job.augment,
            clip=self.config.clip,
            cached=cached,
        ).build()
        features = None if cached else phase.features
        evaluate = evaluation(job.backend, job.model, job.plan, job.params, features)
        while self.position.epoch < first + phase.epochs:
            if not self._train_epoch(phase, first, split.train, step, interrupt):
                return
            epoch = self._measured(phase, split.validation, evaluate)
            # steps= may end a run within an epoch; whoever goes on with it measures that epoch anew.
            self.history[self.position.epoch :] = [epoch]
            if self.position.step_in_epoch == self.per_epoch:
                self.position = Progress(epoch=self.position.epoch + 1, step=self.position.step)
            self._save()
            self.observer.epoch(epoch)
            if interrupt.hear(self.job.group) or self._finished():
                return

    def _trained(self, objective: Objective) -> Tree:
        params = self.carry["params"]
        return {name: params[name] for name in trained_names(objective, params)}

    def _features(self, phase: Phase) -> tuple[Split, bool]:
        """The data of a phase: with its frozen part computed once, unless augmentation changes it each time."""
        split = self.job.split
        if phase.features is None or self.job.augment:
            return split, False
        count = len(split.train) + len(split.validation)
        self.observer.note(f"{phase.name}: computing the frozen features of {count} samples once")
        view = self._view(split)

        group = self.job.group

        def compute(inputs: np.ndarray) -> np.ndarray:
            found = np.asarray(view.call(phase.features, view.params, view.state, group.rows(inputs)))
            return np.asarray(group.gather(found)) if group.spreads(len(inputs)) else found

        batch = self.job.plan.batch
        return Split(Features(split.train, compute, batch), Features(split.validation, compute, batch)), True

    # One epoch

    def _train_epoch(
        self, phase: Phase, first: int, data: Dataset, step: Callable[..., Any], interrupt: Interrupt
    ) -> bool:
        """Train to the end of an epoch; false where an interrupt stopped it before."""
        job, at, batch = self.job, self.position, self.job.plan.batch
        own = partial(job.group.rows, parts=job.plan.accumulate)
        host = batches(data, batch, seed=self.config.seed, epoch=at.epoch, start=at.step_in_epoch, own=own)
        # The sums of a resumed epoch go on from the same fp32 values, so that its means come out the same.
        sums: dict[str, Array] = place(job, {name: np.array(x, np.float32) for name, x in at.sums.items()}, {})
        started, began = at.seconds, time.perf_counter()

        def totals() -> dict[str, float]:
            return {name: float(job.backend.to_host(x)) for name, x in sums.items()}

        def means() -> dict[str, float]:
            return {name: value / at.step_in_epoch for name, value in totals().items()}

        def settle() -> None:
            job.backend.synchronize(job.device)
            at.seconds = started + time.perf_counter() - began
            at.sums = self._checked(totals())

        watch = _Watch(interrupt, job.group)
        with feeding(job, host, waits=data.waits) as feed:
            for arrays in feed:
                lr = self._lr(phase, first)
                self.carry, metrics = step(self.carry, arrays, _fold(self.key, at.step), lr)
                sums = {name: sums[name] + value if name in sums else value for name, value in metrics.items()}
                at.step += 1
                at.step_in_epoch += 1
                self.observer.step(at.epoch + 1, at.step_in_epoch, self.per_epoch, batch, means)
                last = at.step_in_epoch == self.per_epoch
                due = self.config.checkpoint is not None and at.step % self.config.checkpoint == 0
                if last:
                    continue
                if self._finished():
                    break
                stop = watch.stop()
                if stop or due:
                    settle()
                    self._save()
                    if stop:
                        return False
                    started, began = at.seconds, time.perf_counter()
        settle()
        return True

    def _checked(self, numbers: dict[str, float]) -> dict[str, float]:
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise NumericsError(
                    f"{name} is {value} by step {self.position.step}",
                    fix="lower lr=, set clip=1, or use precision=fp32; the last checkpoint is as it was",
                )
        return numbers

    def _lr(self, phase: Phase, first: int) -> float:
        lr = self.lr * phase.lr_scale
        if self.schedule == "constant":
            return lr
        done = (self.position.epoch - first) * self.per_epoch + self.position.step_in_epoch
        total = phase.epochs * self.per_epoch
        if self.config.steps is not None:
            total = min(total, self.config.steps - first * self.per_epoch)
        return lr * 0.5 * (1 + math.cos(math.pi * min(done / total, 1.0)))

    # Between epochs

    def _measured(self, phase: Phase, validation: Dataset, evaluate: Callable[..., Any]) -> Epoch:
        at = self.position
        steps = at.step_in_epoch
        found = self._evaluated(validation, evaluate)
        self._checked({f"validation {name}": value for name, value in found.items()})
        report = self.job.model.epoch_end(self._view(self.job.split))
        self._checked(dict(report.metrics))
        self._keep(report)
        return Epoch(
            epoch=at.epoch + 1,
            phase=phase.name,
            step=at.step,
            train={name: value / steps for name, value in at.sums.items()},
            validation={**found, **report.metrics},
            seconds=at.seconds,
            samples_per_s=steps * self.job.plan.batch / at.seconds,
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        if self.job.group.rank == 0:
            write_whole(path, content)
        return path

    def _keep(self, report: Report) -> None:
        self.files = list(dict.fromkeys([*self.files, *report.files]))

    def _evaluated(self, data: Dataset, evaluate: Callable[..., Mapping[str, Array]]) -> dict[str, float]:
        job, batch = self.job, self.job.plan.batch
        params = job.group.gather_params(self.carry["params"])
        # Of batches that the processes divide, each sums its rows; the others are whole in each of them.
        divided: dict[str, Array] = {}
        alike: dict[str, Array] = {}
        host = batches(data, batch, seed=0, epoch=0, shuffle=False, drop_last=False, own=job.group.rows)
        with feeding(job, host, waits=data.waits) as feed:
            for index, arrays in enumerate(feed):
                found = evaluate(params, self.carry["state"], arrays)
                if not found:
                    return {}
                sums = divided if job.group.spreads(min(batch, len(data) - index * batch)) else alike
                for name, value in found.items():
                    sums[name] = sums[name] + value if name in sums else value
        totals: dict[str, float] = {}
        for sums in (job.group.sum(divided), alike):
            for name, value in sums.items():
                totals[name] = totals.get(name, 0.0) + float(job.backend.to_host(value))
        return {name: value / len(data) for name, value in sorted(totals.items())}

    def _view(self, split: Split) -> TrainingView:
        job = self.job
        precision = job.plan.precision

        def call(fn: Callable[..., Any], *trees: Any) -> Any:
            def put(x: Any) -> Any:
                return put_batch(job, {"x": x})["x"] if isinstance(x, np.ndarray) else x

            given = [cast_inputs(optree.tree_map(put, tree), precision) if _on_host(tree) else tree for tree in trees]
            return optree.tree_map(job.backend.to_host, fn(*given))

        return TrainingView(
            epoch=self.position.epoch + 1,
            params=cast_params(job.group.gather_params(self.carry["params"]), job.params, precision),
            state=self.carry["state"],
            seed=self.config.seed + 1 + self.position.epoch,
            split=split,
            write=self._write,
            call=call,
            auxiliary=self.auxiliary,
        )

    # Checkpoints

    def _save(self) -> None:
        carry: Any = self.job.group.gather_params(self.carry)
        if self.job.group.rank != 0:
            return
        host: Any = optree.tree_map(self.job.backend.to_host, carry)
        meta = {
            "config": self.config.model_dump(mode="json", exclude_unset=True),
            "position": vars(self.position),
            "batch": self.job.plan.batch,
            "epochs": [epoch.model_dump(mode="json") for epoch in self.history],
            "files": [str(path) for path in self.files],
        }
        self.saved = checkpoints.save(
            self.folder / "checkpoints", checkpoints.Checkpoint(self.position.step, host, meta)
        )

    def _restored(self, resume: checkpoints.Checkpoint) -> dict[str, Any]:
        meta, job = resume.meta, self.job
        self.position = Progress(**meta["position"])
        self.history = [Epoch.model_validate(epoch) for epoch in meta["epochs"]]
        self.files = [Path(path) for path in meta["files"]]
        if self.position.step_in_epoch and meta["batch"] != job.plan.batch:
            raise ConfigError(
                f"the checkpoint lies within an epoch of batch={meta['batch']}, and this is batch={job.plan.batch}",
                fix=f"resume with batch={meta['batch']}",
            )
        carry = {name: resume.carry.get(name, {}) for name in ("params", "state", "optimizers", "scale")}
        wanted, found = _shapes(dict(job.params)), _shapes(carry["params"])
        if wanted != found:
            differ = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
            raise CheckpointError(
                f"the checkpoint is of another model: {differ[0]} is {found.get(differ[0], 'missing')} in it and "
                f"{wanted.get(differ[0], 'missing')} in {job.workload.model} ({len(differ)} differ)",
                fix="resume with the model and model.<key>s that the run began with",
            )
        if bool(carry["scale"]) != bool(initial_scale(job.plan.precision)):
            carry["scale"] = initial_scale(job.plan.precision)
        return carry

    def _placed(self, carry: dict[str, Any]) -> dict[str, Any]:
        job = self.job
        optimizers = {
            objective: {
                slot: place(job, value, {}) if slot == "step" else job.group.shard_params(place(job, value, job.params))
                for slot, value in slots.items()
            }
            for objective, slots in carry["optimizers"].items()
        }
        return {
            "params": job.group.shard_params(place(job, carry["params"], job.params)),
            "state": place(job, carry["state"], job.state),
            "optimizers": optimizers,
            "scale": place(job, carry["scale"], {}),
        }


class _Watch:
    """Asks between steps whether to stop; of several processes only now and then, since all of them must answer."""

    def __init__(self, interrupt: Interrupt, group: Group) -> None:
        self._interrupt, self._group = interrupt, group
        self._left = self._every = 1
        self._asked_at = time.perf_counter()

    def stop(self) -> bool:
        """Called after every step."""
        if self._group.size == 1:
            return self._interrupt.hear(self._group)
        self._left -= 1
        if self._left:
            return False
        now = time.perf_counter()
        step_s = (now - self._asked_at) / self._every
        self._left = self._every = self._group.broadcast_int(max(1, min(int(_ANSWER_S / step_s), 1000)))
        self._asked_at = now
        return self._interrupt.hear(self._group)


def _optimizer(job: Job, config: RunConfig, name: str) -> Optimizer:
    own = job.defaults.hyper if name == job.defaults.optimizer else {}
    return job.backend.optimizer(name, {**own, **config.optimizer.hyper()})


def _fold(key: Any, step: int) -> Any:
    from hal import ops

    return ops.fold_in(key, step)


def _on_host(tree: Any) -> bool:
    return any(isinstance(leaf, np.ndarray) for leaf in optree.tree_leaves(tree))


def _shapes(tree: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            shapes.update(_shapes(value, f"{prefix}{name}/"))
        else:
            shapes[prefix + name] = tuple(value.shape)
    return shapes
