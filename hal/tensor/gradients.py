"""Gradients as a whole, in neutral ops."""

from __future__ import annotations

import optree

from hal.tensor.dispatch import namespace
from hal.types import Array, Tree

__all__ = ["neutral_unscale"]


def neutral_unscale(grads: Tree, factor: Array) -> tuple[Tree, Array]:
    """Divide gradients by the loss scale; see :meth:`hal.contract.Backend.unscale`."""
    divided = optree.tree_map(lambda g: g / factor, grads)
    finite = None
    for grad in optree.tree_leaves(divided):
        xp = namespace(grad)
        part = xp.all(xp.isfinite(grad))
        finite = part if finite is None else xp.logical_and(finite, part)
    return divided, finite
