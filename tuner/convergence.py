"""How many samples a plan needs to reach the loss that the default plan reaches: the objective ``time_to_loss``."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from hal.job.placing import put_batch
from hal.job.prepare import Job
from hal.job.steps import TrainingSteps, host_batches
from hal.tuner.reference import reference_job

__all__ = ["PATIENCE", "LossTarget"]

_TARGET_STEPS = 40
"""The target is the loss of the default plan in fp32 after this many steps."""

_WINDOW_SAMPLES = 320
"""A loss is averaged over the steps that hold this many samples, and over at least three steps."""

PATIENCE = 6
"""A plan fails to reach the loss when it has used this many times the samples of the default plan."""


class LossTarget:
    """The loss that every plan is trained to. It is computed when it is first needed.

    Args:
        job: the workload under the default plan.
        seed: seed of the initial values and of the order of batches.
    """

    def __init__(self, job: Job, seed: int) -> None:
        self._job, self._seed = job, seed
        self._target: tuple[float, float] | None = None

    def samples_needed(self, job: Job, run: TrainingSteps) -> float | None:
        """Train from the initial values until the loss is reached. All processes of the plan call this together.

        Args:
            job: the workload under the plan.
            run: the steps of the plan.

        Returns:
            The number of samples used; None if the loss was not reached within :data:`PATIENCE` times the samples
            of the default plan.
        """
        if self._target is None and job.group.rank == 0:
            reference = reference_job(self._job, self._job.plan)
            with reference.backend.settings(reference.plan, reference.device):
                own = TrainingSteps(reference, self._seed)
                losses = list(islice(self._losses(reference, own), _TARGET_STEPS))
            self._target = losses[-1], float(_TARGET_STEPS * reference.plan.batch)
        target, samples = self._target or (0.0, 0.0)
        for index, loss in enumerate(self._losses(job, run), start=1):
            over = loss <= target or index * job.plan.batch >= PATIENCE * samples or math.isnan(loss)
            if job.group.broadcast_int(int(over)):
                return float(index * job.plan.batch) if loss <= target else None
        return None

    def _losses(self, job: Job, run: TrainingSteps) -> Iterator[float]:
        """The running mean of the loss after each step; infinite after the first two, which are too few for a mean."""
        run.restart()
        window: deque[float] = deque(maxlen=max(3, _WINDOW_SAMPLES // job.plan.batch))
        for batch in host_batches(job, self._seed):
            metrics: Mapping[str, Any] = run(put_batch(job, batch))
            window.append(sum(float(job.backend.to_host(x)) for n, x in metrics.items() if n.endswith("loss")))
            yield sum(window) / len(window) if len(window) >= 3 else math.inf
