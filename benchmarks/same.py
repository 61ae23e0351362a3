"""Whether all candidates train the same thing: as many parameters, and the same losses from the same weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks.peers import Peer, together
from benchmarks.task import Task

__all__ = ["STEPS", "check"]

STEPS = 3

_TOLERANCE: Mapping[str, float] = {"fp32": 2e-4, "bf16": 2e-2}
"""Relative. Rounding differs between kernels, and three steps of AdamW enlarge it; in bf16 a rounding is 0.4%."""


def check(task: Task, names: Sequence[str]) -> dict[str, list[float]]:
    """Train every candidate for a few steps.

    Returns:
        The losses of each.

    Raises:
        AssertionError: a candidate has another number of parameters than the first, or other losses.
    """
    losses: dict[str, list[float]] = {}
    counts: dict[str, int] = {}

    def use(peers: dict[str, Peer]) -> None:
        for name, peer in peers.items():
            counts[name] = peer.parameters
            losses[name] = [float(peer.step()) for _ in range(STEPS)]

    together(task, names, use)
    first, *others = names
    for name in others:
        assert counts[name] == counts[first], f"{name} has {counts[name]} parameters, {first} {counts[first]}"
        for step, (mine, theirs) in enumerate(zip(losses[name], losses[first], strict=True)):
            assert math.isclose(mine, theirs, rel_tol=_TOLERANCE[task.precision]), (
                f"step {step}: the loss of {name} is {mine:.6f}, of {first} {theirs:.6f}"
            )
    return losses
