"""Whether a plan computes what the reference does.

The reference is fp32, eager, on the same device, and in one part; in as many parts as the plan for a model whose layers
keep statistics of batches, since those of the parts are others. Both start from the same values and see the same
batches and random keys; what is compared is the loss of each step and the direction of the first gradient. A model
that draws random numbers in its loss (dropout) may draw others when it is compiled: how much that alone changes is
measured on the reference, and widens the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from hal.contract.plan import Plan
from hal.job.placing import put_batch
from hal.job.prepare import Job
from hal.job.steps import Inferring, TrainingSteps
from hal.tuner.trial_result import Guard
from hal.types import Array, Tree

__all__ = ["STEPS", "Curve", "GuardTolerance", "baseline_of", "compare_curves", "compare_outputs", "curve", "tolerance"]

STEPS = 8
"""Steps of the short training."""

_MOST_REPEATS = 24
"""A loss scale of 2**15 is halved at most so often before the first step that is not skipped."""

_OTHER_KEYS = 1000
_NOISE_FACTOR, _NOISE_MARGIN = 2.0, 0.25
"""How far beyond one pair of random draws another may be."""

_GRADIENT_SLOTS = ("mean", "velocity")
"""What an optimizer keeps of the first gradient, times a constant."""


@dataclass(frozen=True)
class GuardTolerance:
    """How far a plan may be from the reference.

    Attributes:
        loss: largest difference of two losses, over the largest reference loss.
        cosine: least cosine of the first gradients.
        output: largest norm of the difference of outputs, over the norm of the reference's.
    """

    loss: float
    cosine: float
    output: float


_TOLERANCES: Mapping[str, GuardTolerance] = {
    "fp32": GuardTolerance(loss=0.02, cosine=0.999, output=1e-3),
    "tf32": GuardTolerance(loss=0.03, cosine=0.99, output=1e-2),
    "bf16": GuardTolerance(loss=0.10, cosine=0.95, output=6e-2),
    "fp16": GuardTolerance(loss=0.10, cosine=0.95, output=2e-2),
}


def tolerance(plan: Plan) -> GuardTolerance:
    """What is expected of a plan's precision; docs/tuning.md has how the numbers were chosen."""
    return _TOLERANCES[plan.precision]


@dataclass(frozen=True)
class Curve:
    """A short training.

    Attributes:
        losses: one a step, summed over the model's objectives.
        direction: the first gradient, flat, in fp32.
        noise_loss: how much other random draws change the losses, over their size; of references alone.
        noise_cosine: cosine of the first gradients under other random draws; of references alone.
    """

    losses: tuple[float, ...]
    direction: np.ndarray
    noise_loss: float = 0.0
    noise_cosine: float = 1.0


def baseline_of(plan: Plan, **keys: Any) -> Plan:
    """The plan that the reference runs under: fp32, eager, on one device, in one part unless ``keys`` say otherwise."""
    return Plan(batch=plan.batch, precision="fp32", compile="eager", **keys)


def curve(job: Job, run: TrainingSteps, host: Sequence[Mapping[str, np.ndarray]], *, key_offset: int = 0) -> Curve:
    """Train from the start over some batches.

    A step that the loss scale skipped is repeated on the same batch, so that the curve is the one without overflows.

    Args:
        job: whose steps these are; its settings are applied.
        run: the steps; begins again from the initial values.
        host: one batch a step.
        key_offset: see :meth:`TrainingSteps.restart`.
    """
    run.restart(key_offset)
    before = _flat(job, run.carry["params"])
    losses: list[float] = []
    direction = np.zeros(0, np.float32)
    for index, batch in enumerate(host):
        losses.append(_loss(job, run(put_batch(job, batch))))
        if index == 0:
            direction = _direction(job, run, before)
            for _ in range(_MOST_REPEATS):
                if np.any(direction) or not math.isfinite(losses[-1]):
                    break
                run.done -= 1
                losses[-1] = _loss(job, run(put_batch(job, batch)))
                direction = _direction(job, run, before)
    return Curve(tuple(losses), direction)


def compare_curves(found: Curve, reference: Curve, allowed: GuardTolerance) -> Guard:
    """Judge a short training by the reference's."""
    scale = max(abs(x) for x in reference.losses)
    errors = [abs(a - b) / (scale or 1.0) for a, b in zip(found.losses, reference.losses, strict=True)]
    error = max(errors) if all(map(math.isfinite, errors)) else math.inf
    cosine = _cosine(found.direction, reference.direction)
    loss_limit = allowed.loss + _NOISE_FACTOR * reference.noise_loss
    cosine_limit = min(
        allowed.cosine, reference.noise_cosine - _NOISE_MARGIN if reference.noise_cosine < 0.9999 else 1.0
    )
    said = []
    if error > loss_limit:
        step = int(np.argmax([e if math.isfinite(e) else math.inf for e in errors]))
        said.append(
            f"the loss in step {step + 1} is {found.losses[step]:.4g}, but {reference.losses[step]:.4g} in fp32 eager: "
            f"a difference of {error:.1%}, where at most {loss_limit:.1%} is allowed"
        )
    if cosine is not None and cosine < cosine_limit:
        said.append(
            f"the first gradient has a cosine of {cosine:.4f} with that of fp32 eager, but at "
            f"least {cosine_limit:.4f} is required"
        )
    return Guard(
        passed=not said,
        steps=len(found.losses),
        losses=tuple(x for x in found.losses if math.isfinite(x)),
        reference_losses=reference.losses,
        loss_error=error if math.isfinite(error) else None,
        loss_tolerance=loss_limit,
        cosine=cosine,
        cosine_tolerance=cosine_limit,
        message="; ".join(said),
    )


def compare_outputs(found: np.ndarray, reference: np.ndarray, allowed: GuardTolerance) -> Guard:
    """Judge the outputs of a forward pass by the reference's."""
    a, b = found.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    norm = float(np.linalg.norm(b))
    error = float(np.linalg.norm(a - b)) / (norm or 1.0)
    cosine = _cosine(a, b)
    said = ""
    if not math.isfinite(error) or error > allowed.output:
        said = (
            f"the outputs differ from those of fp32 eager by {error:.2%}, where at most {allowed.output:.2%} is allowed"
        )
    return Guard(
        passed=not said,
        steps=0,
        loss_error=error if math.isfinite(error) else None,
        loss_tolerance=allowed.output,
        cosine=cosine,
        cosine_tolerance=allowed.cosine,
        message=said,
    )


def noise(job: Job, run: TrainingSteps, host: Sequence[Mapping[str, np.ndarray]]) -> tuple[float, float]:
    """How much the random draws of the loss itself change a short training: its losses, and the cosine.

    Args:
        job: the reference; without augmentation where its draws are the same for all plans.
        run: its steps.
        host: one batch a step.
    """
    first, second = (curve(job, run, host[:1], key_offset=offset) for offset in (0, _OTHER_KEYS))
    if first.losses == second.losses:
        return 0.0, 1.0
    first, second = (curve(job, run, host, key_offset=offset) for offset in (0, _OTHER_KEYS))
    scale = max(map(abs, first.losses)) or 1.0
    cosine = _cosine(first.direction, second.direction)
    apart = max(abs(a - b) for a, b in zip(first.losses, second.losses, strict=True))
    return apart / scale, 1.0 if cosine is None else cosine


def outputs(job: Job, run: Inferring, host: Mapping[str, np.ndarray]) -> np.ndarray:
    """Outputs for one batch, on the host, in fp32."""
    return np.asarray(job.backend.to_host(run(put_batch(job, host))), np.float32)


def _loss(job: Job, metrics: Mapping[str, Array]) -> float:
    return float(sum(float(job.backend.to_host(x)) for name, x in metrics.items() if name.endswith("loss")))


def _direction(job: Job, run: TrainingSteps, before: np.ndarray) -> np.ndarray:
    kept = [state[slot] for state in run.carry["optimizers"].values() for slot in _GRADIENT_SLOTS if slot in state]
    return _flat(job, kept) if kept else _flat(job, run.carry["params"]) - before


def _flat(job: Job, tree: Tree) -> np.ndarray:
    leaves = [
        np.asarray(job.backend.to_host(x), np.float32).ravel()
        for x in optree.tree_leaves(job.group.gather_params(tree))
    ]
    return np.concatenate(leaves) if leaves else np.zeros(0, np.float32)


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    if a.shape != b.shape or not a.size:
        return None
    x, y = a.astype(np.float64), b.astype(np.float64)
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if not math.isfinite(norms) or norms == 0:
        return None
    return float(x @ y / norms)
