"""One optimizer step and one evaluation step of a model, from the contract alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from hal import ops
from hal.contract import Backend, Group
from hal.contract.plan import Plan
from hal.data.augment import augment
from hal.job.carry import Carry, trained_part
from hal.job.precision import cast_inputs, cast_params, next_scale
from hal.nn import Model, Objective, Phase
from hal.tensor import namespace
from hal.tensor.many import clip_norm
from hal.tensor.optimizers import Optimizer
from hal.types import Array, Tree

__all__ = ["Step", "evaluation", "inference", "prediction"]

Batch = Mapping[str, Array]


@dataclass(frozen=True)
class Step:
    """Builds ``step(carry, batch, key, lr, decay) -> (carry, metrics)`` for one phase of a model's training.

    The carry (:mod:`hal.job.carry`) is consumed. Where it has moving averages, ``decay`` is the share of them that
    remains.

    Attributes:
        group: the devices that take part; its backend compiles.
        specs: the model's parameters before they have values.
        cached: whether batches hold the phase's features already.
    """

    group: Group
    model: Model
    phase: Phase
    plan: Plan
    optimizer: Optimizer
    specs: Mapping[str, Any]
    augmentations: Sequence[str] = ()
    clip: float | None = None
    cached: bool = False

    def build(self) -> Callable[..., tuple[Carry, dict[str, Array]]]:
        """The step, compiled as the plan says."""
        step, backend = self.function(), self.group.backend
        launch = backend.replay if backend.compiles_gradients else backend.compile
        return launch(step, self.plan, donate=(0,))

    def function(self) -> Callable[..., tuple[Carry, dict[str, Array]]]:
        """The step before it is compiled."""
        gradients = {
            o.name: self.group.value_and_grad(self._loss(o), self.plan, shards=self.model.takes_shards)
            for o in self.phase.objectives
        }

        def step(carry: Carry, batch: Batch, key: Any, lr: float, decay: float = 0.0) -> tuple[Carry, dict[str, Array]]:
            metrics: dict[str, Array] = {}
            prepare, draw = ops.split_key(key, 2)
            prepare = self.group.shard_key(prepare, _rows(batch), self.plan.accumulate)
            batch = {**batch, "inputs": self._inputs(carry, batch["inputs"], prepare)}
            for index, objective in enumerate(self.phase.objectives):
                own = ops.fold_in(draw, index)
                carry, found = self._update(gradients[objective.name], objective, carry, batch, own, lr)
                metrics.update(found)
            return _averaged(carry, decay), metrics

        return step

    def _inputs(self, carry: Carry, inputs: Array, key: Any) -> Array:
        if self.augmentations:
            inputs = augment(inputs, key, self.augmentations)
        inputs = cast_inputs(self.model, inputs, self.plan.precision)
        if self.phase.features is not None and not self.cached:
            params = cast_params(self.group.gather_params(carry["params"]), self.specs, self.plan.precision)
            inputs = ops.stop_gradient(self.phase.features(params, carry["state"], inputs))
        return inputs

    def _loss(self, objective: Objective) -> Callable[..., tuple[Array, Tree]]:
        specs, precision = self.specs, self.plan.precision

        def loss(trained: Tree, rest: Tree, state: Tree, batch: Batch, key: Any, scale: Tree) -> tuple[Array, Tree]:
            params = cast_params({**rest, **trained}, specs, precision)
            value, aux = objective.loss(params, state, batch, key)
            value = ops.cast(value, namespace(value).float32)
            scaled = value * scale["factor"] if scale else value
            return scaled, (value, aux.state, {name: ops.cast(x, value.dtype) for name, x in aux.metrics.items()})

        return loss

    def _update(
        self,
        gradient: Callable[..., Any],
        objective: Objective,
        carry: Carry,
        batch: Batch,
        key: Any,
        lr: float,
    ) -> tuple[Carry, dict[str, Array]]:
        trained = trained_part(objective, carry["params"])
        rest = {name: value for name, value in carry["params"].items() if name not in trained}
        scale, parts = carry["scale"], self.plan.accumulate
        state: Tree = carry["state"]
        total: Tree = None
        value: Array = None
        metrics: dict[str, Array] = {}
        for part in range(parts):
            piece = batch if parts == 1 else _part(batch, part, parts)
            own = key if parts == 1 else ops.fold_in(key, part)
            own = self.group.shard_key(own, _rows(piece))
            (_, (part_value, state, found)), grads = gradient(trained, rest, state, piece, own, scale)
            total = grads if total is None else optree.tree_map(lambda a, b: a + b, total, grads)
            value = part_value if value is None else value + part_value
            metrics = {name: x + metrics[name] if name in metrics else x for name, x in found.items()}
        grads = total
        if parts > 1:
            grads, value = optree.tree_map(lambda g: g * (1 / parts), total), value / parts
            metrics = {name: x / parts for name, x in metrics.items()}
        skip = None
        if scale:
            grads, finite = self.group.backend.unscale(grads, scale["factor"])
            finite = self.group.gather_params(finite)
            skip, scale = ops.logical_not(finite), next_scale(scale, finite)
            # Statistics of a pass that overflowed are as worthless as its gradients.
            state = optree.tree_map(
                lambda now, before: before if now is before else ops.where(skip, before, now), state, carry["state"]
            )
        if self.clip is not None:
            leaves, structure = optree.tree_flatten(grads)
            grads = structure.unflatten(clip_norm(leaves, self.clip))
        new, optimizer_state = self.optimizer.update(grads, carry["optimizers"][objective.name], trained, lr, skip=skip)
        carry = {
            "params": {name: new.get(name, value) for name, value in carry["params"].items()},
            "state": state,
            "optimizers": {**carry["optimizers"], objective.name: optimizer_state},
            "scale": scale,
            "averages": carry["averages"],
        }
        label = "loss" if len(self.phase.objectives) == 1 else f"{objective.name}_loss"
        return carry, {label: value, **metrics}


def evaluation(
    backend: Backend,
    model: Model,
    plan: Plan,
    specs: Mapping[str, Any],
    features: Callable[[Tree, Tree, Array], Array] | None = None,
) -> Callable[..., Mapping[str, Array]]:
    """``evaluate(params, state, batch)``: sums over the batch of the model's numbers, in fp32.

    Args:
        backend: compiles it.
        model: says which numbers.
        plan: the precision.
        specs: the model's parameters before they have values.
        features: of the phase, unless the batches hold them already.
    """

    def evaluate(params: Tree, state: Tree, batch: Batch) -> Mapping[str, Array]:
        inputs = cast_inputs(model, batch["inputs"], plan.precision)
        params = cast_params(params, specs, plan.precision)
        if features is not None:
            inputs = features(params, state, inputs)
        found = model.evaluate(params, state, {**batch, "inputs": inputs})
        return {name: ops.sum(ops.cast(x, namespace(x).float32)) for name, x in found.items()}

    return backend.replay(backend.compile(evaluate, plan), plan, hold=(0, 1))


def inference(backend: Backend, model: Model, plan: Plan, specs: Mapping[str, Any]) -> Callable[..., Array]:
    """``predict(params, state, inputs)`` in the plan's precision, compiled as the plan says."""
    return backend.replay(backend.compile(prediction(model, plan, specs), plan), plan, hold=(0, 1))


def prediction(model: Model, plan: Plan, specs: Mapping[str, Any]) -> Callable[..., Array]:
    """What :func:`inference` compiles."""

    def predict(params: Tree, state: Tree, inputs: Array) -> Array:
        inputs = cast_inputs(model, inputs, plan.precision)
        return model.predict(cast_params(params, specs, plan.precision), state, inputs)

    return predict


def _averaged(carry: Carry, decay: float) -> Carry:
    """The carry whose moving averages, if it has any, have taken in its values."""
    averages = carry["averages"]
    if not averages:
        return carry

    def follow(average: Tree, values: Tree) -> Tree:
        if isinstance(average, Mapping):
            return {name: follow(inner, values[name]) for name, inner in average.items()}
        return average + (values - average) * (1 - decay)  # exact where the value does not change

    return {**carry, "averages": {name: follow(averages[name], carry[name]) for name in ("params", "state")}}


def _part(batch: Batch, part: int, parts: int) -> Batch:
    def cut(x: Array) -> Array:
        size = x.shape[0] // parts
        return x[part * size : (part + 1) * size, ...]

    cut_batch: Batch = optree.tree_map(cut, dict(batch))  # type: ignore[arg-type, assignment]
    return cut_batch


def _rows(batch: Batch) -> int:
    """How many samples a batch has."""
    leaves: list[Any] = optree.tree_leaves(batch["inputs"])
    return int(leaves[0].shape[0])
