"""What a comparison compared, in numbers, and what it left out, with the reason."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from hal.job.prepare import Job
from hal.parity.cancellation import cancellation
from hal.parity.trace import Trace
from hal.util.trees import flat

__all__ = ["Compared", "Skipped", "compared"]

_CANCELS = 100.0
"""From here on a gradient is reported as one whose terms cancel."""


class Skipped(BaseModel):
    """What was not compared, or was compared in another way than the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    count: int
    why: str


class Compared(BaseModel):
    """How much was compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ops: int = Field(description="Ops that the model calls, each compared by itself.")
    values: int = Field(description="Numbers in the results of these ops.")
    op_gradients: int = Field(description="Gradients of these ops with respect to an argument.")
    op_gradient_values: int = Field(description="Numbers in these gradients.")
    gradients: int = Field(description="Gradients of parameters through the whole model, for each objective.")
    gradient_values: int = Field(description="Numbers in these gradients.")
    updates: int = Field(description="Parameters whose optimizer updates were compared, for each objective.")
    losses: int = Field(description="Losses that were compared: of each step, and with equal parameters.")
    steps: int = Field(description="Optimizer steps that each side took by itself.")
    skipped: tuple[Skipped, ...] = ()


def compared(job: Job, trace: Trace) -> Compared:
    """What a comparison with a trace compares."""
    gradients = [array for each in trace.gradients.values() for array in each.values()]
    return Compared(
        ops=len(trace.ops),
        values=sum(x.size for op in trace.ops for x in op.found.outputs),
        op_gradients=sum(len(op.found.gradients) for op in trace.ops),
        op_gradient_values=sum(x.size for op in trace.ops for x in op.found.gradients.values()),
        gradients=len(gradients),
        gradient_values=sum(x.size for x in gradients),
        updates=sum(len(each) for each in trace.updates.values()),
        losses=len(trace.loss_after) + sum(len(each) for each in trace.training.losses),
        steps=trace.subject.steps,
        skipped=tuple(each for each in _skipped(job, trace) if each.count),
    )


def _skipped(job: Job, trace: Trace) -> Iterator[Skipped]:
    yield Skipped(
        what="ops without a gradient",
        count=sum(not op.found.gradients for op in trace.ops),
        why="they have no floating-point argument or no floating-point result",
    )
    yield Skipped(
        what="running statistics of batch_norm",
        count=2 * sum(op.op == "batch_norm" for op in trace.ops),
        why="their values are compared, but not every framework differentiates with respect to them",
    )
    yield Skipped(
        what="choices among equal values",
        count=sum(op.op in ("max", "max_pool2d", "min") for op in trace.ops),
        why="in the gradients of max, min and max_pool2d, only the sum over all equal values is compared",
    )
    yield Skipped(
        what="bodies of scan",
        count=sum(op.op == "scan" for op in trace.ops),
        why="the ops inside are compared as one op",
    )
    trained = {name for each in trace.gradients.values() for name in each}
    yield Skipped(
        what="parameters that are not trained",
        count=len(set(flat(job.params)) - trained),
        why="the last phase of the training does not change them, so they have no gradient through the whole model",
    )
    yield Skipped(
        what="gradients that cancel",
        count=sum(
            cancellation(array, trace.scales[part][name]) > _CANCELS
            for part, each in trace.gradients.items()
            for name, array in each.items()
        ),
        why="they are zero in theory or nearly so, and are measured by the size of the terms that cancel",
    )
