"""Tells TensorBoard, Weights & Biases and MLflow what a run measures, through their own packages."""

from __future__ import annotations

import abc
import hashlib
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hal.errors import UnavailableError
from hal.job.prepare import Job
from hal.run.observer import RunObserver
from hal.run.record import Epoch, Record

__all__ = ["TRACKERS", "Tracker", "trackers_for"]


class Tracker(RunObserver):
    """Passes the numbers of a run on. If that fails, it is told, and the run goes on without it.

    Args:
        tell: takes a sentence for the user of the run.
    """

    package: ClassVar[str]
    """What is imported for it."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._works = False

    @abc.abstractmethod
    def begin(self, job: Job, folder: Path, resumed_step: int | None) -> None:
        """The run begins; see :meth:`RunObserver.started`."""

    @abc.abstractmethod
    def log(self, numbers: dict[str, float], step: int) -> None:
        """Numbers after an optimizer step."""

    @abc.abstractmethod
    def end(self, record: Record) -> None:
        """The run is over."""

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """Begin."""
        self._works = True
        self._try(self.begin, job, folder, resumed_step)

    def epoch(self, epoch: Epoch) -> None:
        """Log what was measured after an epoch."""
        numbers = {f"train/{name}": value for name, value in epoch.train.items()}
        numbers |= {f"validation/{name}": value for name, value in epoch.validation.items()}
        numbers |= {"speed/samples_per_s": epoch.samples_per_s, "epoch": float(epoch.epoch)}
        if epoch.lr is not None:
            numbers["lr"] = epoch.lr
        self._try(self.log, numbers, epoch.step)

    def ended(self, record: Record, folder: Path) -> None:
        """End."""
        self._try(self.end, record)

    def failed(self, record: Record, folder: Path) -> None:
        """End, with a record that says so."""
        self._try(self.end, record)

    def _try(self, function: Any, *arguments: Any) -> None:
        if not self._works:
            return
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever the package raises: no run is lost to its log
            self._works = False
            self._tell(f"log={self.name} stopped, and the run goes on without it: {type(error).__name__}: {error}")

    @property
    def name(self) -> str:
        """The value of the key ``log``."""
        return next(name for name, cls in TRACKERS.items() if cls is type(self))


class TensorBoard(Tracker):
    """Event files in the run's folder."""

    package: ClassVar[str] = "tensorboard"

    def begin(self, job: Job, folder: Path, resumed_step: int | None) -> None:
        """Open a file of events."""
        from tensorboard.summary import Writer

        self._writer: Any = Writer(str(folder / "tensorboard"))
        self._tell(f"to watch the run: tensorboard --logdir {folder / 'tensorboard'}")

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Scalars."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, record: Record) -> None:
        """Close the file."""
        self._writer.close()


class WeightsAndBiases(Tracker):
    """A run of wandb; its own settings, such as ``WANDB_MODE`` and ``WANDB_PROJECT``, apply."""

    package: ClassVar[str] = "wandb"

    def begin(self, job: Job, folder: Path, resumed_step: int | None) -> None:
        """Begin a run, or go on with that of the same folder."""
        import wandb  # pyright: ignore[reportMissingImports] - an extra

        about = {**job.workload.model_dump(mode="json"), "plan": job.plan.model_dump(), "device": str(job.device)}
        where = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()  # names alone may be the same
        self._run: Any = wandb.init(name=folder.name, id=where, dir=str(folder), config=about, resume="allow")

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Numbers of a step."""
        self._run.log(numbers, step=step)

    def end(self, record: Record) -> None:
        """The results, and whether the run failed."""
        self._run.summary.update(record.results)
        self._run.finish(exit_code=0 if record.status == "done" else 1)


class MLflow(Tracker):
    """A run of MLflow; its own settings, such as ``MLFLOW_TRACKING_URI``, apply."""

    package: ClassVar[str] = "mlflow"

    def begin(self, job: Job, folder: Path, resumed_step: int | None) -> None:
        """Begin a run with the keys of the model and the plan as parameters."""
        import mlflow  # pyright: ignore[reportMissingImports] - an extra

        self._mlflow: Any = mlflow
        mlflow.start_run(run_name=folder.name)
        about = {"model": job.workload.model, "data": job.workload.data, "device": str(job.device)}
        about |= {f"model.{key}": value for key, value in job.workload.keys.items()}
        mlflow.log_params({**about, **job.plan.model_dump()})

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Numbers of a step."""
        self._mlflow.log_metrics(numbers, step=step)

    def end(self, record: Record) -> None:
        """Whether the run ended well."""
        self._mlflow.end_run({"done": "FINISHED", "failed": "FAILED"}.get(record.status, "KILLED"))


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}
"""By the values of the key ``log``."""


def trackers_for(names: Sequence[str], tell: Callable[[str], None]) -> list[Tracker]:
    """The trackers that the key ``log`` names.

    Args:
        names: values of the key.
        tell: takes a sentence for the user of the run.

    Raises:
        UnavailableError: a package is not installed.
    """
    found = []
    for name in dict.fromkeys(names):
        cls = TRACKERS[name]
        try:
            importlib.import_module(cls.package)
        except ImportError as error:
            raise UnavailableError(
                f"log={name} needs the package {cls.package}, which is not installed",
                fix=f"pip install 'hal-tensor[{name}]'",
            ) from error
        found.append(cls(tell))
    return found
