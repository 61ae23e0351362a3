"""The reference that plans are compared with: fp32, eager, on the same device, run once for each batch size."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import numpy as np

from hal.contract.plan import Plan
from hal.errors import NumericsError
from hal.job.prepare import Job, with_plan
from hal.job.steps import Inferring, TrainingSteps, host_batches, stepper
from hal.tuner.guard import (
    STEPS,
    Curve,
    baseline_of,
    compare_curves,
    compare_outputs,
    curve,
    noise,
    outputs,
    tolerance,
)
from hal.tuner.trial_result import Guard

__all__ = ["References", "guard_steps", "reference_job"]


class References:
    """Results of the reference for each batch size that was asked for, computed when they are first needed.

    Args:
        job: the workload on its device, under any plan.
        seed: seed of the initial values and of the order of batches.
    """

    def __init__(self, job: Job, seed: int) -> None:
        self._job, self._seed = job, seed
        self._curves: dict[tuple[Plan, bool], Curve] = {}
        self._outputs: dict[Plan, np.ndarray] = {}

    def prepare(self, plan: Plan) -> None:
        """Run the reference that a plan is compared with, unless that was done before. Runs in this process alone.

        Raises:
            NumericsError: a loss of the reference is not finite, so nothing can be compared with it.
        """
        job = reference_job(self._job, plan)
        draws = _draws_others(plan)
        if (job.plan, draws) in self._curves or job.plan in self._outputs:
            return
        with job.backend.settings(job.plan, job.device):
            run = stepper(job, self._seed)
            if isinstance(run, Inferring):
                self._outputs[job.plan] = outputs(job, run, next(host_batches(job, self._seed)))
                return
            batches = list(islice(host_batches(job, self._seed), STEPS))
            found = curve(job, run, batches)
            if not all(map(math.isfinite, found.losses)):
                raise NumericsError(
                    "the reference (precision=fp32 compile=eager) has a loss that is not finite, so no plan can "
                    "be checked",
                    fix="correct the model or its data; hal run with compile=eager precision=fp32 shows the loss",
                )
            drawing = job if draws else replace(job, augment=())
            loss, cosine = noise(drawing, TrainingSteps(drawing, self._seed), batches)
            self._curves[job.plan, draws] = replace(found, noise_loss=loss, noise_cosine=cosine)

    def compare(self, job: Job, run: TrainingSteps | Inferring) -> Guard:
        """Compare a plan with its reference, which :meth:`prepare` has run.

        Args:
            job: the workload under the plan; all processes of the plan take part by :func:`guard_steps`.
            run: the steps of the plan.
        """
        reference = reference_job(self._job, job.plan).plan
        found = guard_steps(job, run, self._seed)
        if isinstance(found, Curve):
            return compare_curves(found, self._curves[reference, _draws_others(job.plan)], tolerance(job.plan))
        return compare_outputs(found, self._outputs[reference], tolerance(job.plan))


def _draws_others(plan: Plan) -> bool:
    """Whether augmentation, which is the same for all other plans, draws other numbers: a recorded step does."""
    return plan.launch == "graph"


def reference_job(job: Job, plan: Plan) -> Job:
    """The workload of a job under the reference plan for another plan."""
    # Statistics of a batch are those of its parts, so another number of parts is another computation.
    parts = plan.accumulate if job.state else 1
    return with_plan(job, baseline_of(plan, accumulate=parts))


def guard_steps(job: Job, run: TrainingSteps | Inferring, seed: int) -> Curve | np.ndarray:
    """What the numerics guard looks at: a short training, or the outputs for one batch in inference."""
    if isinstance(run, Inferring):
        return outputs(job, run, next(host_batches(job, seed)))
    return curve(job, run, list(islice(host_batches(job, seed), STEPS)))
