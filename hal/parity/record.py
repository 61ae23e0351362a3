"""Records what a model does on the reference, and how far a rounding moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hal.job.prepare import Job
from hal.parity.cancellation import gradient_scales, moved_back
from hal.parity.deviation import Scale, relative
from hal.parity.trace import Given, OpTrace, Runner, Side, Subject, Trace, TrainingTrace
from hal.parity.watch import Call
from hal.types import Tree
from hal.util.trees import nested

__all__ = ["record"]

_DISTURBED_RUNS = 2


def record(job: Job, given: Given, subject: Subject) -> Trace:
    """Run a model and keep what each op, each gradient and each step gives.

    Args:
        job: what runs where.
        given: what it starts from.
        subject: the seed and the number of steps.
    """
    runner = Runner(job, given, subject.seed)
    evaluator = runner.evaluator
    found: list[OpTrace] = []

    def watch(part: str, call: Call) -> Tree:
        result, evaluated = evaluator.run(call, len(found))
        scales = evaluator.scales(call, result, evaluated, len(found))
        found.append(OpTrace(part, call.layer, call.op, evaluated, scales))
        return result

    runner.forward(watch)
    gradients = runner.gradients(lambda part, call: call.run())
    training = runner.train(subject.steps)
    return Trace(
        side=Side.of(job),
        subject=subject,
        given=given,
        ops=tuple(found),
        gradients=gradients,
        scales=_scales(runner, gradients),
        updates=runner.updates({name: nested(each) for name, each in gradients.items()}),
        training=training,
        loss_after=runner.loss_after(training),
        amplified=_amplified(training, [runner.train(subject.steps, seed) for seed in range(_DISTURBED_RUNS)]),
    )


def _scales(runner: Runner, gradients: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, Scale]]:
    """What the errors of the gradients of the whole model are measured by."""
    evaluator, precision = runner.evaluator, runner.job.plan.precision
    moved, count = [], 0
    for run in range(_DISTURBED_RUNS):
        random, count = np.random.default_rng([runner.seed, run]), 0

        def watch(part: str, call: Call, random: np.random.Generator = random) -> Tree:
            nonlocal count
            count += 1
            return moved_back(call, evaluator.place, precision, random).run()

        moved.append(runner.gradients(watch))
    return {
        part: gradient_scales(values, [each[part] for each in moved], count, precision)
        for part, values in gradients.items()
    }


def _amplified(training: TrainingTrace, disturbed: Sequence[TrainingTrace]) -> dict[str, float]:
    worst: dict[str, float] = {}
    for other in disturbed:
        for expected, found in zip(training.losses, other.losses, strict=True):
            for name, value in expected.items():
                off = relative(found[name], value)
                worst[name] = max(worst.get(name, 0.0), off if np.isfinite(off) else 0.0)
    return worst
