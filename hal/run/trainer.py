"""The loop of a training: phases, epochs, steps; it says nothing to the terminal.

Evaluating stands in :mod:`hal.run.evaluating`, checkpoints in :mod:`hal.run.training_state`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hal import ops
from hal.contract import Group
from hal.data import Dataset, Split, WeightedData, batches, class_weights, count_batches
from hal.errors import NumericsError
from hal.job.carry import model_values, start_optimizers, usable_params
from hal.job.features import Features
from hal.job.placing import feeding
from hal.job.prepare import Job
from hal.job.step import Step, evaluation
from hal.nn import Phase, Report, TrainedModel, TrainingView
from hal.run.checkpoint import Checkpoint
from hal.run.config import RunConfig, ScheduleName
from hal.run.evaluating import evaluate_samples, view_training
from hal.run.interrupt import Interrupt
from hal.run.keeping import Kept, Metric
from hal.run.observer import RunObserver
from hal.run.progress import EpochSums, Progress, check_finite
from hal.run.record import Epoch
from hal.run.schedule import lr_factor
from hal.run.training_state import (
    TrainingState,
    averaging_decay,
    restore_training,
    save_training,
    start_training,
    with_averages,
)
from hal.tensor.optimizers import Optimizer, Slots
from hal.util.files import remove_folder, write_whole

__all__ = ["Trainer", "TrainingOutcome"]

_ANSWER_S = 0.3
"""The processes of a run answer an interrupt within about this time (s)."""


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training ended.

    Attributes:
        interrupted: whether it was stopped before its end.
        epochs: what was measured after each.
        report: what the model says at the end; empty where it was interrupted.
        checkpoint: the last one; None: there is none.
        trained: the model with its values, on the devices.
        files: what the model wrote.
        metric: by which its epochs are compared.
        stopped_early: whether it ended because the metric did not improve any more.
    """

    interrupted: bool
    epochs: tuple[Epoch, ...]
    report: Report
    checkpoint: Path | None
    trained: TrainedModel
    files: tuple[Path, ...]
    metric: Metric
    stopped_early: bool


class Trainer:
    """One training of a job.

    Attributes:
        state: all that changes while it runs.
        auxiliary: the trained models that the job's model is judged by; set before :meth:`run`.
        after_epoch: called with all epochs so far once another is measured and saved; set before :meth:`run`.

    Args:
        job: what is trained where.
        config: how long and how.
        folder: where checkpoints and files go.
        observer: is told what happens.
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
        observer: RunObserver,
        resume: Checkpoint | None = None,
    ) -> None:
        self.job, self.config, self.folder, self.observer = job, config, folder, observer
        self.auxiliary: Mapping[str, TrainedModel] = {}
        self.after_epoch: Callable[[tuple[Epoch, ...], Metric], None] = lambda epochs, metric: None
        self.per_epoch = count_batches(len(job.split.train), job.plan.batch)
        epochs = config.epochs or (math.ceil(config.steps / self.per_epoch) if config.steps else job.defaults.epochs)
        self.phases = job.model.phases(epochs)
        self.lr = config.lr or job.defaults.lr
        self.schedule: ScheduleName = config.schedule.name or job.defaults.schedule
        metric = Metric(*job.model.chosen_metric())
        self.kept = Kept(config.keep, metric)
        self.stopped_early = False
        self.optimizer_name = config.optimizer.name or job.defaults.optimizer
        self.optimizer = job.group.optimizer(_optimizer(job, config, self.optimizer_name))
        self.key = job.backend.rng(config.seed, job.device)
        self.state: TrainingState = (
            start_training(job, config.seed)
            if resume is None
            else restore_training(job, resume, config.accept, observer.note)
        )
        self.state.carry = with_averages(job, self.state.carry, config.ema, observer.note)

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def run(self, interrupt: Interrupt) -> TrainingOutcome:
        """Train to the end, or until an interrupt.

        Raises:
            NumericsError: the loss is not finite; the last checkpoint stays as it was.
            HalError: what the backend made of a failure.
        """
        state, first = self.state, 0
        self._check_patience()
        for index, phase in enumerate(self.phases):
            if state.progress.epoch < first + phase.epochs and not self._finished():
                self._train_phase(phase, first, interrupt)
            first += phase.epochs
            if interrupt.heard:
                break
            if index + 1 < len(self.phases) and state.progress.epoch == first and state.progress.step_in_epoch == 0:
                state.carry["optimizers"] = {}
        interrupted = interrupt.heard and not self._finished() and state.progress.epoch < self.epochs
        if self.stopped_early:
            self._tell_early_stop()
        report = Report() if interrupted else self.job.model.run_end(self._view())
        self._keep(report)
        values, its_state = model_values(state.carry)
        trained = TrainedModel(self.job.model, usable_params(self.job, values), its_state)
        return TrainingOutcome(
            interrupted,
            tuple(state.history),
            report,
            state.saved,
            trained,
            tuple(state.files),
            self.kept.metric,
            self.stopped_early,
        )

    def _finished(self) -> bool:
        steps = self.config.steps
        return self.stopped_early or (steps is not None and self.state.progress.step >= steps)

    def _check_patience(self) -> None:
        """Find whether the last phase has not improved for too long; asked between epochs, by all processes."""
        if self.config.patience is None:
            return
        before = sum(phase.epochs for phase in self.phases[:-1])
        stale = self.kept.metric.epochs_without_improvement(self.state.history[before : self.state.progress.epoch])
        self.stopped_early = bool(self.job.group.broadcast_int(int(stale >= self.config.patience)))

    def _tell_early_stop(self) -> None:
        best = self.kept.metric.best(self.state.history)
        if best is not None:
            self.observer.note(
                f"stopped after epoch {self.state.progress.epoch} of {self.epochs}: {self.kept.metric.name} has not "
                f"improved in {self.config.patience} epochs; it was best in epoch {best.epoch}"
            )

    # One phase

    def _train_phase(self, phase: Phase, first: int, interrupt: Interrupt) -> None:
        job, state = self.job, self.state
        split, cached = self._features(phase)
        self._start_optimizers(phase)
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
        weights = self.config.class_weights
        train = split.train
        if weights is not None:
            train = WeightedData(train, class_weights(job.split.train, weights))
        evaluate = evaluation(job.backend, job.model, job.plan, job.params, features)
        while state.progress.epoch < first + phase.epochs:
            if not self._train_epoch(phase, first, train, step, interrupt):
                return
            epoch = self._saved_and_measured(phase, first, split.validation, evaluate)
            # steps= may end a run within an epoch; whoever goes on with it measures that epoch anew.
            state.history[state.progress.epoch :] = [epoch]
            if state.progress.step_in_epoch == self.per_epoch:
                state.progress = Progress(epoch=state.progress.epoch + 1, step=state.progress.step)
            self._save()
            self.after_epoch(tuple(state.history), self.kept.metric)
            self.observer.epoch(epoch)
            self._check_patience()
            if interrupt.hear(job.group) or self._finished():
                return

    def _start_optimizers(self, phase: Phase) -> None:
        """Start the optimizer of each objective that has none yet, or that another optimizer was used for before."""
        held = self.state.carry["optimizers"]
        slots = {"step", *Slots[self.optimizer_name]}
        fresh = [each for each in phase.objectives if each.name not in held or set(held[each.name]) != slots]
        if any(each.name in held for each in fresh):
            self.observer.note(
                "the checkpoint was written with another optimizer; the state of "
                f"optimizer={self.optimizer_name} starts from zero"
            )
        self.state.carry = start_optimizers(self.state.carry, fresh, self.optimizer)

    def _features(self, phase: Phase) -> tuple[Split, bool]:
        """The data of a phase: with its frozen part computed once, unless augmentation changes it each time."""
        split, group, batch = self.job.split, self.job.group, self.job.plan.batch
        if phase.features is None or self.job.augment:
            return split, False
        count = len(split.train) + len(split.validation)
        self.observer.note(f"phase {phase.name}: computing the features of {count} samples once, since they are frozen")
        view = self._view()

        def compute(inputs: np.ndarray) -> np.ndarray:
            found = np.asarray(view.call(phase.features, view.params, view.state, group.rows(inputs)))
            return np.asarray(group.gather(found)) if group.spreads(len(inputs)) else found

        return Split(Features(split.train, compute, batch), Features(split.validation, compute, batch)), True

    # One epoch

    def _train_epoch(
        self, phase: Phase, first: int, data: Dataset, step: Callable[..., Any], interrupt: Interrupt
    ) -> bool:
        """Train to the end of an epoch; false where an interrupt stopped it before."""
        job, state, at, batch = self.job, self.state, self.state.progress, self.job.plan.batch
        own = partial(job.group.rows, parts=job.plan.accumulate)
        host = batches(data, batch, seed=self.config.seed, epoch=at.epoch, start=at.step_in_epoch, own=own)
        sums = EpochSums(job, at)
        watch = _Watch(interrupt, job.group)
        with feeding(job, host, data) as feed:
            for arrays in feed:
                lr = self._lr(phase, first)
                key, decay = ops.fold_in(self.key, at.step), averaging_decay(self.config.ema, at.step)
                state.carry, metrics = step(state.carry, arrays, key, lr, decay)
                sums.add(metrics)
                at.step += 1
                at.step_in_epoch += 1
                self.observer.step(at.epoch + 1, at.step_in_epoch, self.per_epoch, batch, sums.means)
                due = self.config.checkpoint is not None and at.step % self.config.checkpoint == 0
                if at.step_in_epoch == self.per_epoch:
                    continue
                if self._finished():
                    break
                stop = watch.stop()
                if stop or due:
                    sums.settle()
                    self._save()
                    if stop:
                        return False
                    sums.start_clock()
        sums.settle()
        return True

    def _lr(self, phase: Phase, first: int, back: int = 0) -> float:
        """The learning rate of the next step, or of one that lies some steps back."""
        at = self.state.progress
        done = (at.epoch - first) * self.per_epoch + at.step_in_epoch - back
        total = phase.epochs * self.per_epoch
        if self.config.steps is not None:
            total = min(total, self.config.steps - first * self.per_epoch)
        factor = lr_factor(self.schedule, self.config.schedule, done, total, self.per_epoch)
        return self.lr * phase.lr_scale * factor

    # Between epochs

    def _saved_and_measured(self, phase: Phase, first: int, data: Dataset, evaluate: Callable[..., Any]) -> Epoch:
        """Save an epoch before it is measured, since measuring may fail; parameters that have diverged are not kept."""
        state, before = self.state, self.state.saved
        self._save(measured=False)
        try:
            return self._measured(phase, first, evaluate_samples(self.job, state.carry, data, evaluate))
        except NumericsError:
            if self.job.group.rank == 0 and state.saved is not None:
                remove_folder(state.saved)
                if before is None:
                    state.saved.parent.rmdir()
            state.saved = before
            raise

    def _measured(self, phase: Phase, first: int, validation: Mapping[str, float]) -> Epoch:
        at = self.state.progress
        steps = at.step_in_epoch
        check_finite({f"validation {name}": value for name, value in validation.items()}, at.step)
        report = self.job.model.epoch_end(self._view())
        check_finite(report.metrics, at.step)
        self._keep(report)
        return Epoch(
            epoch=at.epoch + 1,
            phase=phase.name,
            step=at.step,
            train={name: value / steps for name, value in at.sums.items()},
            validation={**validation, **report.metrics},
            seconds=at.seconds,
            samples_per_s=steps * self.job.plan.batch / at.seconds,
            lr=self._lr(phase, first, back=1),
        )

    def _view(self) -> TrainingView:
        return view_training(
            self.job,
            self.state.carry,
            epoch=self.state.progress.epoch,
            seed=self.config.seed,
            split=self.job.split,
            write=self._write,
            auxiliary=self.auxiliary,
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        if self.job.group.rank == 0:
            write_whole(path, content)
        return path

    def _keep(self, report: Report) -> None:
        self.state.files = list(dict.fromkeys([*self.state.files, *report.files]))

    def _save(self, *, measured: bool = True) -> None:
        save_training(self.job, self.config, self.state, self.folder, self.kept, measured=measured)


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
