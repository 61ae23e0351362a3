"""Optimizers for Apple GPUs, whose fused kernels leave out no step."""

from __future__ import annotations

from dataclasses import dataclass

from hal.tensor.optimizers import Optimizer
from hal.types import Array, Tree

__all__ = ["FusedUnlessSkipped"]


@dataclass(frozen=True)
class FusedUnlessSkipped(Optimizer):
    """PyTorch's fused kernels, and neutral ops for a step that is left out if gradients overflowed.

    The fused kernels for Apple GPUs ignore ``found_inf`` in releases before the pull request 186360 of PyTorch (June
    2026). Both kinds keep the same state.

    Args:
        fused: for steps that are always taken.
        neutral: the same optimizer in neutral ops.
    """

    fused: Optimizer
    neutral: Optimizer

    def init(self, params: Tree) -> dict[str, Tree]:
        """The state before the first step."""
        return self.fused.init(params)

    def update(
        self, grads: Tree, state: dict[str, Tree], params: Tree, lr: float, *, skip: Array | None = None
    ) -> tuple[Tree, dict[str, Tree]]:
        """New parameters and state."""
        chosen = self.fused if skip is None else self.neutral
        return chosen.update(grads, state, params, lr, skip=skip)
