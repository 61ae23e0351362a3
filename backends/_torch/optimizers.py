"""PyTorch's fused optimizers behind the functional face; parameters and state are updated in place.

The kernels are those of ``torch.optim`` with ``fused=True``, called without the bookkeeping around them, which costs as
much as they do on small models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optree
import torch

from hal.tensor.optimizers import Optimizer, Slots, hyper_of, neutral_optimizer
from hal.types import Tree

__all__ = ["torch_optimizer"]

Tensor = torch.Tensor


def torch_optimizer(name: str, hyper: Mapping[str, float]) -> Optimizer:
    """An optimizer by name: fused where PyTorch has a fused kernel, else in neutral ops.

    Raises:
        UnsupportedError: no optimizer of that name, or it has no such constant.
    """
    constants = hyper_of(name, hyper)
    if name in ("sgd", "adam", "adamw"):
        return _Fused(name, constants)
    return neutral_optimizer(name, hyper)


@dataclass(frozen=True)
class _Fused(Optimizer):
    name: str
    hyper: Mapping[str, float]

    def init(self, params: Tree) -> dict[str, Tree]:
        step = torch.zeros((), device=optree.tree_leaves(params)[0].device)
        return {"step": step, **{slot: optree.tree_map(torch.zeros_like, params) for slot in Slots[self.name]}}

    @torch.no_grad()
    def update(
        self, grads: Tree, state: dict[str, Tree], params: Tree, lr: float, *, skip: Tensor | None = None
    ) -> tuple[Tree, dict[str, Tree]]:
        leaves = _leaves(params, params)
        slots = [_aligned(_leaves(params, state[slot]), leaves) for slot in Slots[self.name]]
        new = {slot: _tree(params, iter(arrays)) for slot, arrays in zip(Slots[self.name], slots, strict=True)}
        found_inf = None if skip is None else skip.to(torch.float32)
        grad_scale = None if skip is None else torch.ones((), device=leaves[0].device)
        decay = self.hyper["weight_decay"]
        gradients = _as_stored(_aligned(_leaves(params, grads), leaves))
        leaves, slots = _as_stored(leaves), [_as_stored(arrays) for arrays in slots]
        kernels: Any = torch  # whose types leave these out
        # They read one step count a parameter; all of them are at the same one.
        step = state["step"].add_(1.0)
        if self.name == "sgd":
            kernels._fused_sgd_(
                leaves,
                gradients,
                slots[0] if self.hyper["momentum"] else [],
                weight_decay=decay,
                momentum=self.hyper["momentum"],
                lr=lr,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
                grad_scale=grad_scale,
                found_inf=found_inf,
            )
        else:
            kernel = kernels._fused_adamw_ if self.name == "adamw" else kernels._fused_adam_
            kernel(
                leaves,
                gradients,
                slots[0],
                slots[1],
                [],
                [step] * len(leaves),
                amsgrad=False,
                beta1=self.hyper["beta1"],
                beta2=self.hyper["beta2"],
                lr=lr,
                weight_decay=decay,
                eps=self.hyper["epsilon"],
                maximize=False,
                grad_scale=grad_scale,
                found_inf=found_inf,
            )
        if found_inf is not None:
            step.sub_(found_inf)
        return params, {"step": step, **new}


def _leaves(like: Tree, tree: Tree) -> list[Tensor]:
    """The leaves of a tree in the order of another of its form; for nested dicts in a fifth of optree's time."""
    if type(like) is not dict:
        leaves: list[Tensor] = optree.tree_leaves(tree)
        return leaves
    found = []
    for name, child in like.items():
        if isinstance(child, Tensor):
            found.append(tree[name])
        else:
            found += _leaves(child, tree[name])
    return found


def _tree(like: Tree, leaves: Iterator[Tensor]) -> Tree:
    """The reverse of :func:`_leaves`."""
    if isinstance(like, Tensor):
        return next(leaves)
    if type(like) is dict:
        return {name: _tree(child, leaves) for name, child in like.items()}
    structure = optree.tree_structure(like)
    return structure.unflatten([next(leaves) for _ in range(structure.num_leaves)])


def _aligned(arrays: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """Arrays stored in the order of the parameters: the kernels walk memory, not indices."""
    return [
        a if a.stride() == p.stride() else torch.empty_like(p).copy_(a) for a, p in zip(arrays, leaves, strict=True)
    ]


def _as_stored(arrays: list[Tensor]) -> list[Tensor]:
    """Views in storage order: for permuted tensors the kernels would copy, though they compute element by element."""
    return [a if a.is_contiguous() or not _dense(a) else a.as_strided((a.numel(),), (1,)) for a in arrays]


def _dense(array: Tensor) -> bool:
    """Whether a permuted tensor has no gaps in its storage."""
    last = sum((size - 1) * stride for size, stride in zip(array.shape, array.stride(), strict=True))
    return last + 1 == array.numel()
