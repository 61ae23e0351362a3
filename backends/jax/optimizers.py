"""optax's optimizers behind the functional face, with the state that hal's checkpoints carry between backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hal.tensor.optimizers import Optimizer, Slots, hyper_of
from hal.types import Array, Tree

__all__ = ["optax_optimizer"]


def optax_optimizer(name: str, hyper: Mapping[str, float]) -> Optimizer:
    """An optimizer by name.

    Raises:
        UnsupportedError: no optimizer of that name, or it has no such constant.
    """
    return _Optax(name, hyper_of(name, hyper))


@dataclass(frozen=True)
class _Optax(Optimizer):
    name: str
    hyper: Mapping[str, float]

    def init(self, params: Tree) -> dict[str, Tree]:
        slots = {slot: jax.tree.map(jnp.zeros_like, params) for slot in Slots[self.name]}
        return {"step": jnp.zeros((), jnp.float32), **slots}

    def update(
        self, grads: Tree, state: dict[str, Tree], params: Tree, lr: float, *, skip: Array | None = None
    ) -> tuple[Tree, dict[str, Tree]]:
        decay = optax.add_decayed_weights(self.hyper["weight_decay"])
        if self.name != "adamw":
            grads, _ = decay.update(grads, optax.EmptyState(), params)
        moves, after = self._rule(grads, state)
        if self.name == "adamw":
            moves, _ = decay.update(moves, optax.EmptyState(), params)
        new = jax.tree.map(lambda p, move: p - lr * move, params, moves)
        after = {"step": state["step"] + 1, **after}
        if skip is None:
            return new, after
        kept: tuple[Tree, dict[str, Tree]] = jax.tree.map(
            lambda now, before: jnp.where(skip, before, now), (new, after), (params, state)
        )
        return kept

    def _rule(self, grads: Tree, state: dict[str, Tree]) -> tuple[Tree, dict[str, Tree]]:
        """The direction of the step before the learning rate, and the slots from now on."""
        h = self.hyper
        before: Any
        after: Any  # optax types the state of every transformation as a tree
        if self.name == "sgd":
            before = optax.TraceState(trace=state["velocity"])
            moves, after = optax.trace(h["momentum"]).update(grads, before)
            return moves, {"velocity": after.trace}
        if self.name == "rmsprop":
            before = optax.ScaleByRmsState(nu=state["square"])
            moves, after = optax.scale_by_rms(h["decay"], h["epsilon"], eps_in_sqrt=False).update(grads, before)
            return moves, {"square": after.nu}
        before = optax.ScaleByAdamState(count=state["step"].astype(jnp.int32), mu=state["mean"], nu=state["square"])
        moves, after = optax.scale_by_adam(h["beta1"], h["beta2"], h["epsilon"]).update(grads, before)
        return moves, {"mean": after.mu, "square": after.nu}
