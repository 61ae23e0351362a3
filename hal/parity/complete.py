"""Whether a trace from a folder holds all that a comparison claims to compare, before any of it is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hal.data import batches
from hal.job.carry import differences, trained_part
from hal.job.prepare import Job
from hal.parity.trace import Trace
from hal.util.trees import flat, nested

__all__ = ["missing"]


def missing(job: Job, trace: Trace) -> str:
    """What of a trace is missing, is of another shape, or is not finite, as the end of a sentence; empty: nothing.

    Names and shapes are those of the job's model and data. Which losses a step reports, and which ops the model calls,
    is only known when it runs: :func:`hal.parity.check.check` compares these.

    Args:
        job: the model and its data here.
        trace: what was read.
    """
    return next(_problems(job, trace), "")


def _problems(job: Job, trace: Trace) -> Iterator[str]:
    steps, given, training = trace.subject.steps, trace.given, trace.training
    objectives = {each.name: each for each in job.model.phases(1)[-1].objectives}
    yield from _tree("the initial state", job.state, given.state)
    yield from _not_finite("the initial parameters", given.params)
    yield from _batches(job, trace)
    for what, held in (("gradients", trace.gradients), ("updates", trace.updates)):
        yield from _names(f"the {what} of objectives", objectives, held)
        for name, objective in objectives.items():
            yield from _tree(f"the {what} of {name}", trained_part(objective, job.params), nested(held[name]))
    yield from _names("the scales of gradients of objectives", objectives, trace.scales)
    for name, scales in trace.scales.items():
        yield from _names(f"the scales of the gradients of {name}:", trace.gradients[name], scales)
    trained = {name for each in objectives.values() for name in trained_part(each, job.params)}
    after = {name: spec for name, spec in job.params.items() if name in trained}
    yield from _tree("the trained parameters", after, training.params, finite=False)
    yield from _tree("the state after training", job.state, training.state, finite=False)
    yield from _names("the losses after training of objectives", objectives, trace.loss_after)
    if len(training.losses) != steps:
        yield f"it has the losses of {len(training.losses)} steps, but {steps} were taken"
    for step, losses in enumerate(training.losses):
        yield from _names(f"the losses of step {step + 1}:", trace.amplified, losses)
    if not trace.amplified:
        yield "it has no losses"
    for name, number in trace.amplified.items():
        if not (np.isfinite(number) and number >= 0):
            yield f"how far a rounding moves {name} is {number}"
    for index, op in enumerate(trace.ops):
        if not op.found.outputs:
            yield f"op {index}, {op.op}, has no result"
        if op.scales.outputs and len(op.scales.outputs) != len(op.found.outputs):
            yield f"op {index}, {op.op}, has scales for {len(op.scales.outputs)} of {len(op.found.outputs)} results"


def _tree(what: str, specs: Mapping[str, Any], found: Mapping[str, Any], *, finite: bool = True) -> Iterator[str]:
    for each in differences(specs, found):
        yield f"{what}: {each.describe('the trace', 'the model here')}"
    if finite:
        yield from _not_finite(what, found)


def _not_finite(what: str, found: Mapping[str, Any]) -> Iterator[str]:
    for path, array in flat(found).items():
        if array.dtype.kind != "f":
            yield f"{what}: {path} holds {array.dtype}, not floating-point numbers"
        elif not np.isfinite(array).all():
            yield f"{what}: {path} has values that are not finite"


def _batches(job: Job, trace: Trace) -> Iterator[str]:
    expected = next(iter(batches(job.split.train, trace.subject.batch, seed=trace.subject.seed, epoch=0)))
    if len(trace.given.batches) != max(trace.subject.steps, 1):
        yield f"it has {len(trace.given.batches)} batches for {trace.subject.steps} steps"
    for index, batch in enumerate(trace.given.batches):
        yield from _names(f"batch {index}:", expected, batch)
        for name, array in batch.items():
            like = expected[name]
            if (array.shape, array.dtype) != (like.shape, like.dtype):
                yield (
                    f"batch {index}: {name} has shape {array.shape} and dtype {array.dtype}, but the model here takes "
                    f"{like.shape} and {like.dtype}"
                )
            elif array.dtype.kind == "f" and not np.isfinite(array).all():
                yield f"batch {index}: {name} has values that are not finite"
        classes = job.split.train.classes
        labels = batch.get("labels")
        if labels is not None and classes is not None and not ((labels >= 0) & (labels < classes)).all():
            yield f"batch {index}: there are labels outside 0 to {classes - 1}"


def _names(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    if set(expected) != set(found):
        here, there = (", ".join(sorted(each)) or "none" for each in (expected, found))
        yield f"{what} {there} instead of {here}"
