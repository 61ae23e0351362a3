"""Compares a device with a trace: each op by itself from the inputs of the trace, then the whole model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optree
from pydantic import BaseModel, ConfigDict, Field

from hal import ops
from hal.errors import RunError
from hal.job.prepare import Job
from hal.parity.cancellation import cancellation
from hal.parity.compared import Compared, compared
from hal.parity.deviation import (
    EPSILON,
    TINY,
    TOLERANCES,
    Deviation,
    Limit,
    PrecisionLimits,
    Scale,
    deviation,
    relative,
)
from hal.parity.evaluate import Evaluated, is_floating
from hal.parity.trace import UPDATES, OpTrace, PartWatch, Runner, Side, Trace
from hal.parity.watch import Call
from hal.types import Array, Tree
from hal.util.trees import flat, nested

_LEEWAY = 10  # two trials say little about the tail

__all__ = ["DeviceComparison", "Finding", "LossFinding", "OpFinding", "check"]


class Finding(BaseModel):
    """How far one array is from the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    found: Deviation
    exceeds: bool
    cancellation: float | None = Field(
        default=1.0,
        description="How many times smaller the values are than the terms that cancel in them, by which the deviation "
        "is measured; 1 where nothing cancels, None where the values are zero.",
    )


class OpFinding(BaseModel):
    """How far one op is from the reference, forward and backward, where both get the same inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    part: str = Field(description="The objective that the op belongs to, or features.")
    layer: str = Field(description="Path of the layer; empty outside layers.")
    op: str
    shape: tuple[int, ...]
    dtype: str
    forward: Deviation
    gradient: Deviation | None = Field(
        description="Deviation of the gradient that differs most; None if there is none."
    )
    gradient_of: str = ""
    drift: Deviation = Field(description="Deviation of the result if the ops before it ran on the same device.")
    limit: Limit = Field(description="Limits of the forward and gradient deviations.")
    exceeds: tuple[str, ...] = Field(
        default=(), description="Which of the forward and gradient deviations exceed the limit."
    )

    @property
    def where(self) -> str:
        """Layer and op, for people."""
        return f"{self.layer or self.part} {self.op}"


class LossFinding(BaseModel):
    """How far one loss is from the reference at one optimizer step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    name: str
    expected: float | None = Field(description="Loss of the reference; None if it is not finite.")
    found: float | None
    off: float | None = Field(description="Relative deviation; None if one of the two is not finite.")
    allowed: float
    amplified: float = Field(
        description="Relative deviation of the reference itself after its initial values were moved by one rounding."
    )
    exceeds: bool


class DeviceComparison(BaseModel):
    """How one device compares with the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Side
    tolerance: PrecisionLimits
    ops: tuple[OpFinding, ...]
    gradients: tuple[Finding, ...] = Field(description="Gradient of each parameter, through the whole model.")
    updates: tuple[Finding, ...] = Field(description="Change of each parameter in three updates with equal gradients.")
    loss_after: tuple[LossFinding, ...] = Field(
        description="Losses with the parameters that the reference had after its steps."
    )
    losses: tuple[LossFinding, ...] = Field(
        description="Losses of each optimizer step, where each side trains its own parameters."
    )
    compared: Compared
    agrees: bool

    @property
    def first(self) -> OpFinding | None:
        """The first op that is further off than its limit."""
        return next((op for op in self.ops if op.exceeds), None)


def check(job: Job, trace: Trace) -> DeviceComparison:
    """Run on another device what a trace holds, and compare.

    Each op gets the inputs that it got in the trace, not what the ops before it gave here, so that each deviation is
    that of one op.

    Raises:
        RunError: the model does not call the ops of the trace.
    """
    tolerance = TOLERANCES[trace.subject.precision]
    runner = Runner(job, trace.given, trace.subject.seed)
    drifts = _drifts(runner, trace)
    found = _ops(runner, trace, tolerance, drifts)
    gradients = _gradients(runner.gradients(_forced(runner, trace)), trace, tolerance.gradient)
    updated = runner.updates({name: nested(each) for name, each in trace.gradients.items()})
    updates = _updates(updated, trace, tolerance.update)
    after = _after(runner.loss_after(trace.training), trace, tolerance.loss)
    trained = runner.train(trace.subject.steps).losses
    for step, (mine, its) in enumerate(zip(trained, trace.training.losses, strict=True)):
        if set(mine) != set(its):
            names = [", ".join(sorted(each)) or "none" for each in (mine, its)]
            raise _another_model(f"step {step + 1} has the losses {names[0]} where the reference has {names[1]}")
    losses = _losses(trained, trace, tolerance.loss)
    if not (gradients and updates and after and losses):
        raise RunError(
            "the comparison is incomplete: the model has no trained parameters, so it has no gradients to compare",
            fix="compare a model with parameters",
        )
    wrong: list[Any] = [op for op in found if op.exceeds]
    wrong += [each for each in (*gradients, *updates) if each.exceeds]
    wrong += [each for each in (*after, *losses) if each.exceeds]
    return DeviceComparison(
        side=Side.of(job),
        tolerance=tolerance,
        ops=tuple(found),
        gradients=tuple(gradients),
        updates=tuple(updates),
        loss_after=tuple(after),
        losses=tuple(losses),
        compared=compared(job, trace),
        agrees=not wrong,
    )


def _drifts(runner: Runner, trace: Trace) -> list[Deviation]:
    """How far the result of each op is off where nothing is put right on the way."""
    follow = _follow(trace)
    found: list[Deviation] = []

    def watch(part: str, call: Call) -> Tree:
        expected = follow(part, call)
        result = call.run()
        leaves: list[Any] = optree.tree_leaves(result)
        if len(leaves) != len(expected.found.outputs):
            raise _another_model(
                f"{_named_op(expected)} has {len(leaves)} results where the reference has {len(expected.found.outputs)}"
            )
        outputs = [runner.job.backend.to_host(x) for x in leaves]
        found.append(_worst(zip(outputs, expected.found.outputs, strict=True), TOLERANCES[trace.subject.precision].op))
        return result

    runner.forward(watch)
    if len(found) != len(trace.ops):
        extra = trace.ops[len(found)]
        raise _another_model(f"the model calls no more ops where the reference has {_named_op(extra)}")
    return found


def _ops(runner: Runner, trace: Trace, tolerance: PrecisionLimits, drifts: list[Deviation]) -> list[OpFinding]:
    evaluator, follow = runner.evaluator, _follow(trace)
    found: list[OpFinding] = []

    def watch(part: str, call: Call) -> Tree:
        expected = follow(part, call)
        result, evaluated = evaluator.run(call, len(found))
        limit = tolerance.op.times(_rounded_in_a_row(call) ** 0.5)
        found.append(_compared(len(found), expected, evaluated, limit, drifts[len(found)]))
        values = zip(expected.found.outputs, expected.found.dtypes, strict=True)
        _, structure = optree.tree_flatten(result)
        return structure.unflatten([evaluator.place(value, dtype) for value, dtype in values])

    runner.forward(watch)
    return found


def _forced(runner: Runner, trace: Trace) -> PartWatch:
    """Give each op the trace's values for its result, and leave its derivatives as they are."""
    evaluator, follow = runner.evaluator, _follow(trace)

    def force(mine: Array, value: np.ndarray, dtype: str) -> Array:
        its = evaluator.place(value, dtype)
        if not is_floating(dtype):
            return its
        missing = ops.cast(its, mine.dtype) - mine
        return mine + ops.stop_gradient(ops.where(ops.isfinite(missing), missing, ops.zeros_like(missing)))

    def watch(part: str, call: Call) -> Tree:
        expected = follow(part, call).found
        leaves, structure = optree.tree_flatten(call.run())
        return structure.unflatten(map(force, leaves, expected.outputs, expected.dtypes))

    return watch


def _follow(trace: Trace) -> Callable[[str, Call], OpTrace]:
    ahead = iter(trace.ops)

    def follow(part: str, call: Call) -> OpTrace:
        expected = next(ahead, None)
        if expected is None or (expected.part, expected.op) != (part, call.op):
            there = _named_op(expected) if expected else "no op"
            raise _another_model(f"the model calls {call.op} in {call.layer or part} where the reference has {there}")
        return expected

    return follow


def _named_op(op: OpTrace) -> str:
    return f"{op.op} in {op.layer or op.part}"


def _another_model(why: str) -> RunError:
    return RunError(
        f"{why}: the two are not the same model",
        fix="use the same versions of hal and of the model on both sides, or record a new trace",
    )


def _rounded_in_a_row(call: Call) -> float:
    """How many times a value is rounded on its way through one op: at every step of a sequence, at every addition.

    An op whose parts one library fuses and another rounds one by one counts its parts.
    """
    match call.op:
        case "gru" | "lstm" | "rnn":
            return float(call.args[0].shape[1])
        case "attention":
            return 4.0  # the scores and the weights, and both again on the way back
        case "einsum":
            return max(1.0, len(call.args) - 2.0)  # one product less than there are arrays beside the equation
        case "index_put" | "scatter" if call.kwargs.get("add"):
            x, given = call.args[0], call.args[-1]
            return max(1.0, float(np.prod(given.shape)) / max(float(np.prod(x.shape)), 1.0))
        case "scan":
            return float(call.args[2].shape[0])
        case "embedding":
            table, ids = call.args
            return max(1.0, float(np.prod(ids.shape)) / int(table.shape[0]))
        case _:
            return 1.0


def _compared(index: int, expected: OpTrace, evaluated: Evaluated, limit: Limit, drift: Deviation) -> OpFinding:
    scales = expected.scales.outputs or (None,) * len(expected.found.outputs)
    forward = max(
        (
            _measured(mine, its, scale, limit)
            for mine, its, scale in zip(evaluated.outputs, expected.found.outputs, scales, strict=True)
        ),
        key=limit.share,
        default=Deviation(),
    )
    for mine, its in zip(evaluated.dtypes, expected.found.dtypes, strict=True):
        if mine != its and is_floating(its):
            forward = Deviation(problem=f"dtype {mine} instead of {its}")
    if set(evaluated.gradients) != set(expected.found.gradients):
        names = [", ".join(sorted(each)) or "none" for each in (evaluated.gradients, expected.found.gradients)]
        raise _another_model(f"{_named_op(expected)} has the gradients {names[0]} where the reference has {names[1]}")
    gradients = {
        name: _measured(evaluated.gradients[name], gradient, expected.scales.gradients[name], limit)
        for name, gradient in expected.found.gradients.items()
    }
    worst = max(gradients, key=lambda name: limit.share(gradients[name]), default="")
    gradient = gradients.get(worst)
    exceeds = {"forward": limit.exceeded(forward), "gradient": gradient is not None and limit.exceeded(gradient)}
    return OpFinding(
        index=index,
        part=expected.part,
        layer=expected.layer,
        op=expected.op,
        shape=tuple(expected.found.outputs[0].shape) if expected.found.outputs else (),
        dtype=expected.found.dtypes[0] if expected.found.dtypes else "",
        forward=forward,
        gradient=gradient,
        gradient_of=worst,
        drift=drift,
        limit=limit,
        exceeds=tuple(name for name, wrong in exceeds.items() if wrong),
    )


def _worst(pairs: Iterable[tuple[np.ndarray, np.ndarray]], limit: Limit) -> Deviation:
    return max((deviation(a, e) for a, e in pairs), key=limit.share, default=Deviation())


def _gradients(found: Mapping[str, Mapping[str, np.ndarray]], trace: Trace, limit: Limit) -> list[Finding]:
    findings = []
    for part, arrays in trace.gradients.items():
        for path, array in arrays.items():
            scale = trace.scales[part][path]
            each, cancels = _measured(found[part][path], array, scale, limit), cancellation(array, scale)
            findings.append(
                Finding(
                    name=f"{part}: {path}",
                    found=each,
                    exceeds=limit.exceeded(each),
                    cancellation=cancels if np.isfinite(cancels) else None,
                )
            )
    return findings


def _measured(found: np.ndarray, expected: np.ndarray, scale: Scale | None, limit: Limit) -> Deviation:
    """A deviation; one that exceeds the limit where zeros are expected is told in words."""
    each = deviation(found, expected, scale)
    if limit.exceeded(each) and each.problem is None and not expected.any():
        return Deviation(problem="should be zero everywhere")
    return each


def _updates(found: Mapping[str, Mapping[str, np.ndarray]], trace: Trace, limit: Limit) -> list[Finding]:
    """Of how far each parameter moved; a small step away from a large number is rounded with the number."""
    findings, before = [], flat(trace.given.params)
    for part, arrays in trace.updates.items():
        for path, array in arrays.items():
            start = before[path].astype(np.float64)
            moved = array - start
            rounding = UPDATES * EPSILON * np.abs(start).max(initial=0.0) / max(np.abs(moved).max(initial=0.0), TINY)
            allowed = Limit(largest=limit.largest + rounding, typical=limit.typical + rounding)
            each = deviation(found[part][path] - start, moved)
            findings.append(Finding(name=f"{part}: {path}", found=each, exceeds=allowed.exceeded(each)))
    return findings


def _after(found: Mapping[str, float], trace: Trace, allowed: float) -> list[LossFinding]:
    step = len(trace.training.losses)
    return [_loss(step, name, found[name], value, allowed) for name, value in trace.loss_after.items()]


def _losses(found: Sequence[Mapping[str, float]], trace: Trace, allowed: float) -> list[LossFinding]:
    """Each side trains by itself, so that a rounding may grow; it may be as far off as it grew in the reference."""
    return [
        _loss(step + 1, name, found[step][name], value, max(allowed, _LEEWAY * grown), grown)
        for step, expected in enumerate(trace.training.losses)
        for name, value in expected.items()
        for grown in (trace.amplified[name],)
    ]


def _loss(step: int, name: str, found: float, expected: float, allowed: float, amplified: float = 0.0) -> LossFinding:
    both = bool(np.isfinite(expected) and np.isfinite(found))
    off = relative(found, expected) if both else None
    return LossFinding(
        step=step,
        name=name,
        expected=expected if np.isfinite(expected) else None,
        found=found if np.isfinite(found) else None,
        off=off,
        allowed=allowed,
        amplified=amplified,
        exceeds=off is None or off > allowed,
    )
