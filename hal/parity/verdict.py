"""A comparison in words: what agrees, or which op is the first that does not, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable

from hal.parity.check import DeviceComparison, Finding
from hal.parity.deviation import Deviation, Limit
from hal.parity.trace import Side

__all__ = ["advice", "verdict"]


def verdict(found: DeviceComparison, reference: Side) -> str:
    """One sentence that says whether a device agrees with the reference, and where it does not."""
    other = "the trace" if str(found.side) == str(reference) else str(reference)
    sides = f"{found.side} agrees with {other}"
    if found.agrees:
        ops = f"{len(found.ops)} ops forward and backward" if found.ops else "no op"
        steps = found.losses[-1].step if found.losses else 0
        return f"{sides}: {ops}, {len(found.gradients)} gradients, the optimizer, and the loss after {steps} steps"
    return f"{sides.replace('agrees', 'does not agree')}, {_first(found)}"


def advice(found: DeviceComparison) -> str:
    """A sentence that says what to do next; empty where everything agrees."""
    if found.agrees:
        return ""
    first, backend = found.first, found.side.device.backend
    if first is not None:
        others = len([op for op in found.ops if op.exceeds]) - 1
        alone = (
            "it is the only op that differs"
            if not others
            else f"{others} more op{'s differ' if others > 1 else ' differs'} too"
        )
        return (
            f"fix {first.op} of backend {backend}, or the plain operators just before it: each op received the "
            f"reference's inputs, so no earlier op is at fault, and {alone}; then run the conformance suite with "
            f"-k {first.op}"
        )
    if any(each.exceeds for each in found.updates):
        return (
            f"check the optimizer of backend {backend}: it received the reference's gradients and moved the "
            f"parameters differently"
        )
    if any(each.exceeds for each in found.gradients):
        return f"check value_and_grad of backend {backend}: the gradients of each single op agree"
    return "try precision=fp32 and fewer steps=, because each single op agrees"


def _first(found: DeviceComparison) -> str:
    op = found.first
    if op is not None:
        kind = op.exceeds[0]
        each = op.forward if kind == "forward" else op.gradient or Deviation()
        what = "its result" if kind == "forward" else f"its gradient with respect to {op.gradient_of}"
        return f"first at op {op.index}, {op.where}: {what} {_said(each, op.limit)}"
    update, gradient = _wrong(found.updates), _wrong(found.gradients)
    if update is not None:
        said = _said(update.found, found.tolerance.update)
        return f"although each op does: the optimizer moves {update.name} differently; its change {said}"
    if gradient is not None:
        return (
            f"although each op does: the gradient of {gradient.name} {_said(gradient.found, found.tolerance.gradient)}"
        )
    loss = next(each for each in (*found.loss_after, *found.losses) if each.exceeds)
    off = "not finite on one side" if loss.off is None else f"off by {loss.off:.1e} (allowed {loss.allowed:.1e})"
    return f"although each op does: {loss.name} at step {loss.step} is {off}"


def _wrong(findings: Iterable[Finding]) -> Finding | None:
    return next((each for each in findings if each.exceeds), None)


def _said(each: Deviation, limit: Limit) -> str:
    if each.problem is not None:
        return f"has {each.problem}" if each.problem.startswith(("shape", "dtype")) else each.problem
    if each.largest > limit.largest:
        return f"is off by up to {each.largest:.1e} of its scale (allowed {limit.largest:.1e})"
    return f"is off by {each.typical:.1e} of its scale on average (allowed {limit.typical:.1e})"
