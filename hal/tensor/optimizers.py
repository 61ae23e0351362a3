"""Optimizers as one functional face: ``init`` and ``update`` over trees of arrays; defaults in neutral ops."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optree

from hal.errors import UnsupportedError
from hal.tensor.dispatch import namespace
from hal.types import Array, Tree

__all__ = ["HYPER", "Optimizer", "Slots", "hyper_of", "neutral_optimizer"]

HYPER: Mapping[str, Mapping[str, float]] = {
    "sgd": {"momentum": 0.9, "weight_decay": 0.0},
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
    "rmsprop": {"decay": 0.99, "epsilon": 1e-8, "weight_decay": 0.0},
}
"""Constants of each optimizer with their defaults; weight decay is decoupled in adamw alone.

Epsilon is added outside of the root, in adam, adamw and rmsprop alike: ``lr * mean / (sqrt(square) + epsilon)``.
"""

Slots: Mapping[str, tuple[str, ...]] = {
    "sgd": ("velocity",),
    "adam": ("mean", "square"),
    "adamw": ("mean", "square"),
    "rmsprop": ("square",),
}
"""Names of the trees that each optimizer keeps, like the parameters; checkpoints carry them between backends."""


def hyper_of(name: str, given: Mapping[str, float]) -> dict[str, float]:
    """The constants of an optimizer, defaults filled in.

    Raises:
        UnsupportedError: no optimizer of that name, or it has no such constant.
    """
    if name not in HYPER:
        raise UnsupportedError(f"optimizer={name} is not known", fix=f"use one of: {', '.join(HYPER)}")
    unknown = sorted(set(given) - set(HYPER[name]))
    if unknown:
        raise UnsupportedError(
            f"optimizer {name} has no {', '.join(unknown)}", fix=f"use only: {', '.join(HYPER[name])}"
        )
    return {**HYPER[name], **given}


class Optimizer(abc.ABC):
    """Updates parameters by gradients.

    State is ``{"step": scalar, slot: tree like params, ...}`` with the slots of :data:`Slots`.
    """

    @abc.abstractmethod
    def init(self, params: Tree) -> dict[str, Tree]:
        """State before the first step."""

    @abc.abstractmethod
    def update(
        self, grads: Tree, state: dict[str, Tree], params: Tree, lr: float, *, skip: Array | None = None
    ) -> tuple[Tree, dict[str, Tree]]:
        """One step; consumes state and params.

        Args:
            grads: a tree like params.
            state: what init or the last update returned.
            params: what is to be updated.
            lr: learning rate; a scalar array where a recorded step gets another one at each replay.
            skip: a boolean scalar; where true, params and state come back unchanged.

        Returns:
            params and state.
        """


def neutral_optimizer(name: str, hyper: Mapping[str, float]) -> Optimizer:
    """An optimizer written in neutral ops.

    Raises:
        UnsupportedError: no optimizer of that name, or it has no such constant.
    """
    return _Neutral(name, hyper_of(name, hyper))


@dataclass(frozen=True)
class _Neutral(Optimizer):
    name: str
    hyper: Mapping[str, float]

    def init(self, params: Tree) -> dict[str, Tree]:
        leaves = optree.tree_leaves(params)
        step = namespace(leaves[0]).zeros_as((), like=leaves[0])
        zeros = {
            slot: optree.tree_map(lambda p: namespace(p).zeros_as(p.shape, like=p), params) for slot in Slots[self.name]
        }
        return {"step": step, **zeros}

    def update(
        self, grads: Tree, state: dict[str, Tree], params: Tree, lr: float, *, skip: Array | None = None
    ) -> tuple[Tree, dict[str, Tree]]:
        rule, slots = _RULES[self.name], Slots[self.name]
        step = state["step"] + 1
        leaves, structure = optree.tree_flatten(params)
        columns = [optree.tree_leaves(state[slot]) for slot in slots]
        rows = []
        for p, g, *s in zip(leaves, optree.tree_leaves(grads), *columns, strict=True):
            new = rule(self.hyper, p, g, s, lr, step)
            rows.append(new if skip is None else [_unless(skip, n, old) for n, old in zip(new, [p, *s], strict=True)])
        new_params, *new_slots = zip(*rows, strict=True)
        trees = {slot: structure.unflatten(column) for slot, column in zip(slots, new_slots, strict=True)}
        next_step = step if skip is None else _unless(skip, step, state["step"])
        return structure.unflatten(new_params), {"step": next_step, **trees}


def _unless(skip: Array, new: Array, old: Array) -> Array:
    return namespace(new).where(skip, old, new)


def _sgd(h: Mapping[str, float], p: Array, g: Array, s: list[Array], lr: float, step: Array) -> list[Array]:
    g = g + h["weight_decay"] * p
    velocity = h["momentum"] * s[0] + g
    return [p - lr * velocity, velocity]


def _adam(h: Mapping[str, float], p: Array, g: Array, s: list[Array], lr: float, step: Array) -> list[Array]:
    """Kingma and Ba, arXiv 1412.6980, with the bias correction of algorithm 1."""
    g = g + h["weight_decay"] * p
    return _adam_moments(h, p, g, s, lr, step)


def _adamw(h: Mapping[str, float], p: Array, g: Array, s: list[Array], lr: float, step: Array) -> list[Array]:
    """Loshchilov and Hutter, arXiv 1711.05101."""
    return _adam_moments(h, p * (1 - lr * h["weight_decay"]), g, s, lr, step)


def _adam_moments(h: Mapping[str, float], p: Array, g: Array, s: list[Array], lr: float, step: Array) -> list[Array]:
    xp = namespace(p)
    mean = h["beta1"] * s[0] + (1 - h["beta1"]) * g
    square = h["beta2"] * s[1] + (1 - h["beta2"]) * g * g
    scale = xp.sqrt(square / (1 - h["beta2"] ** step)) + h["epsilon"]
    return [p - lr * (mean / (1 - h["beta1"] ** step)) / scale, mean, square]


def _rmsprop(h: Mapping[str, float], p: Array, g: Array, s: list[Array], lr: float, step: Array) -> list[Array]:
    """Tieleman and Hinton, Coursera lecture 6.5, 2012."""
    g = g + h["weight_decay"] * p
    square = h["decay"] * s[0] + (1 - h["decay"]) * g * g
    return [p - lr * g / (namespace(p).sqrt(square) + h["epsilon"]), square]


_RULES: Mapping[str, Callable[..., list[Any]]] = {"sgd": _sgd, "adam": _adam, "adamw": _adamw, "rmsprop": _rmsprop}
