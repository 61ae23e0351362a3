"""A job as a function that runs one whole step after the other: what benchmarks and the tuner time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from hal import ops
from hal.data import batches, count_batches
from hal.errors import ConfigError
from hal.job.carry import Carry, initial_carry, place_carry, place_for_inference, start_optimizers
from hal.job.prepare import Job
from hal.job.step import Step, inference
from hal.types import Array

__all__ = ["Inferring", "Stepper", "TrainingSteps", "host_batches", "stepper"]


class TrainingSteps:
    """Optimizer steps of a job's first phase, from its initial values.

    Attributes:
        carry: what the last step gave; see :mod:`hal.job.carry`.
        done: steps since the start.
    """

    def __init__(self, job: Job, seed: int) -> None:
        self.job, self.seed = job, seed
        self._phase = job.model.phases(1)[0]
        self._optimizer = job.group.optimizer(job.backend.optimizer(job.defaults.optimizer, job.defaults.hyper))
        self._step = Step(
            job.group, job.model, self._phase, job.plan, self._optimizer, job.params, augmentations=job.augment
        ).build()
        self._key = job.backend.rng(seed, job.device)
        self.carry = self._first_carry()
        self.done = 0

    def restart(self, key_offset: int = 0) -> None:
        """Go back to the initial values; what is compiled stays.

        Args:
            key_offset: start with the random key of a later step, for other random draws from the same values.
        """
        self.carry = self._first_carry()
        self.done = key_offset

    def _first_carry(self) -> Carry:
        placed = place_carry(self.job, initial_carry(self.job, self.seed))
        return start_optimizers(placed, self._phase.objectives, self._optimizer)

    def __call__(self, batch: Mapping[str, Array]) -> Mapping[str, Array]:
        """One step; returns the metrics, which may not be computed yet."""
        key = ops.fold_in(self._key, self.done)
        self.carry, metrics = self._step(self.carry, batch, key, self.job.defaults.lr)
        self.done += 1
        return metrics


class Inferring:
    """The forward pass of a job with its initial values."""

    def __init__(self, job: Job, seed: int) -> None:
        self._group = job.group
        self._predict = inference(job.backend, job.model, job.plan, job.params)
        self._params, self._state = place_for_inference(job, *job.model.initial(seed))

    def __call__(self, batch: Mapping[str, Array]) -> Array:
        """Outputs for one batch, of all processes that divide it."""
        return self._group.gather(self._predict(self._params, self._state, batch["inputs"]))


Stepper = Callable[[Mapping[str, Array]], object]


def stepper(job: Job, seed: int) -> TrainingSteps | Inferring:
    """The steps of a job, as its workload's mode says."""
    return TrainingSteps(job, seed) if job.workload.mode == "train" else Inferring(job, seed)


def host_batches(job: Job, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """This process's rows of batches of the training set, one epoch after the other without an end.

    Raises:
        ConfigError: the data do not fill one batch; at the first batch.
    """
    data = job.split.train
    if count_batches(len(data), job.plan.batch) == 0:
        raise ConfigError(
            f"batch={job.plan.batch} is larger than the {len(data)} samples of the data",
            fix=f"use a smaller batch= or more data, for example data=synthetic:{2 * job.plan.batch}",
        )
    epoch = 0
    train, group = job.workload.mode == "train", job.group
    own = partial(group.rows, parts=job.plan.accumulate) if train else None
    while True:
        for batch in batches(data, job.plan.batch, seed=seed, epoch=epoch, own=own):
            yield batch if train else {"inputs": group.rows(job.model.inference_inputs(batch["inputs"]))}
        epoch += 1
