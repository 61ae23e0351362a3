"""Trains the models that a run's model is judged by, each in a folder of its own inside the run's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from hal.job.prepare import Job
from hal.nn import Auxiliary, TrainedModel
from hal.run.checkpoint import latest, load
from hal.run.config import RunConfig
from hal.run.interrupt import Interrupt
from hal.run.observer import RunObserver
from hal.run.trainer import Trainer

__all__ = ["train_auxiliaries"]


def train_auxiliaries(
    job: Job, seed: int, folder: Path, observer: RunObserver, interrupt: Interrupt
) -> dict[str, TrainedModel]:
    """Train the auxiliary models of a job, or take them from an earlier part of the same run.

    Args:
        job: of the model that is judged.
        seed: of the run.
        folder: of the run.
        observer: is told which model is trained or left out.
        interrupt: ends this early; the last model that is returned may not be trained to its end then.

    Returns:
        The trained models by name; none where the data has no classes.
    """
    found = {}
    for name, auxiliary in type(job.model).auxiliaries.items():
        if job.split.train.labels is None:
            observer.note(
                f"the auxiliary model {name} is not trained, and its metrics are left out, because the data has "
                f"no labels"
            )
            continue
        found[name] = _train(job, name, auxiliary, seed, folder / f"auxiliary-{name}", observer, interrupt)
        if interrupt.heard:
            break
    return found


def _train(
    job: Job, name: str, auxiliary: Auxiliary, seed: int, folder: Path, observer: RunObserver, interrupt: Interrupt
) -> TrainedModel:
    cls = auxiliary.model
    keys = cls.Config.model_validate(
        {key: value for key, value in job.model.config.model_dump().items() if key in ("size", "channels")}
    )
    defaults = cls.defaults_for(keys)
    model = cls(keys, job.split.train)
    count = math.prod(job.plan.spread().values())
    batch = min(defaults.batch, len(job.split.train)) // count * count
    plan = job.plan.model_copy(update={"batch": batch, "accumulate": 1}).resolve(job.device)
    inner = replace(
        job, model=model, params=model.params(), state=model.state(), plan=plan, defaults=defaults, augment=()
    )
    config = RunConfig.model_validate({"epochs": auxiliary.epochs, "seed": seed, "keep": "last"})
    resume = load(latest(folder)) if (folder / "checkpoints").is_dir() else None
    if resume is None:
        observer.note(
            f"training the auxiliary model {name} ({cls.__name__}) for {auxiliary.epochs} epochs; it is used to "
            "evaluate the model of this run"
        )
    return Trainer(inner, config, folder, RunObserver(), resume).run(interrupt).trained
