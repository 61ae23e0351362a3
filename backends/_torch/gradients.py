"""Gradients as a whole, in a few launches of kernels that take lists of tensors."""

from __future__ import annotations

from typing import Any

import optree
import torch

from hal.tensor.gradients import neutral_unscale
from hal.types import Tree

__all__ = ["unscale"]

Tensor = torch.Tensor


@torch.no_grad()
def unscale(grads: Tree, factor: Tensor) -> tuple[Tree, Tensor]:
    """Divide gradients by the loss scale; see :meth:`hal.contract.Backend.unscale`."""
    leaves: list[Any]
    leaves, structure = optree.tree_flatten(grads)
    if any(type(leaf) is not Tensor for leaf in leaves):  # parts of sharded ones are finite only if all parts are
        return neutral_unscale(grads, factor)
    kernels: Any = torch  # whose types leave these out
    # Autograd may give two parameters the same gradient, so that nothing may be divided in place.
    divided = list(kernels._foreach_div(leaves, factor))
    overflowed = torch.zeros((), device=factor.device)
    kernels._amp_foreach_non_finite_check_and_unscale_(divided, overflowed, torch.ones((), device=factor.device))
    return structure.unflatten(divided), overflowed == 0
