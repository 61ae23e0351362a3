"""The carry of training: what an optimizer step consumes and gives back, and what a checkpoint keeps.

A carry is a plain dict of five trees, so that every backend's compiler takes it as it is:

    params      nested dicts of arrays, in the form of the model's ``params()``
    state       nested dicts of arrays, in the form of the model's ``state()``: running statistics, for example
    optimizers  for each objective of the phase: ``step`` and the slots of :data:`hal.tensor.optimizers.Slots`
    scale       the loss scale of fp16; empty in every other precision
    averages    with an exponential moving average: those of ``params`` and of the floating-point part of ``state``;
                otherwise empty

Whatever runs a model starts here. From a model and a seed: :func:`initial_carry` (host), :func:`place_carry`
(devices), :func:`start_optimizers`. From values that come from elsewhere, such as a checkpoint, a user's own module or
an exported file: :func:`make_carry`, then :func:`differences` says whether they fit the model, then
:func:`place_carry`. What only computes outputs needs no optimizers and takes :func:`place_for_inference`. A compiler
for hardware that is not present takes :func:`carry_shapes`. The way back to the host is :func:`fetch_array`, for
one array after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

import numpy as np
import optree

from hal.contract.device import PrecisionName
from hal.contract.program import ArrayShape
from hal.job.placing import place
from hal.job.precision import initial_scale
from hal.job.prepare import Job
from hal.nn import Model, Objective, Phase
from hal.tensor.optimizers import Optimizer, Slots
from hal.types import Array, Tree

__all__ = [
    "Carry",
    "Difference",
    "carry_shapes",
    "differences",
    "fetch_array",
    "initial_carry",
    "make_carry",
    "model_values",
    "place_carry",
    "place_for_inference",
    "shapes_of",
    "start_averages",
    "start_optimizers",
    "trained_part",
    "usable_params",
]


class Carry(TypedDict):
    """What an optimizer step consumes and gives back; see the module."""

    params: Tree
    state: Tree
    optimizers: dict[str, Tree]
    scale: Tree
    averages: Tree


class Difference(NamedTuple):
    """An array whose shape is not what a model wants; None: it is missing there."""

    path: str
    wanted: tuple[int, ...] | None
    found: tuple[int, ...] | None

    def describe(self, there: str, here: str) -> str:
        """What differs, for an error: ``body/dense/bias has shape (8,) in the checkpoint and (9,) in cnn``.

        Args:
            there: what the values come from.
            here: what they should fit.
        """
        if self.found is None:
            return f"{self.path} is missing in {there} and has shape {self.wanted} in {here}"
        wanted = "is missing" if self.wanted is None else str(self.wanted)
        return f"{self.path} has shape {self.found} in {there} and {wanted} in {here}"


def make_carry(
    precision: PrecisionName,
    params: Tree,
    state: Tree,
    optimizers: Mapping[str, Tree] | None = None,
    scale: Tree = None,
    averages: Tree = None,
) -> Carry:
    """A carry from values of any origin.

    Args:
        precision: of the plan that the carry will be trained under.
        params: values of the parameters.
        state: values of the model's state.
        optimizers: the state of the optimizer of each objective; None: :func:`start_optimizers` will make it.
        scale: the state of the loss scale. Where ``precision`` scales the loss and this is empty, or the other way
            round, the loss scale begins again.
        averages: moving averages; None: there are none.
    """
    first = initial_scale(precision)
    return {
        "params": params,
        "state": state,
        "optimizers": dict(optimizers or {}),
        "scale": scale if scale and first else first,
        "averages": averages or {},
    }


def initial_carry(job: Job, seed: int) -> Carry:
    """The carry before the first step, on the host and without optimizers.

    Args:
        job: the model, and the plan whose precision decides the loss scale.
        seed: what the initial values are drawn from.
    """
    params, state = job.model.initial(seed)
    return make_carry(job.plan.precision, params, state)


def place_carry(job: Job, carry: Carry) -> Carry:
    """A carry on the devices of a job, as training keeps it there: sharded where the plan says so.

    Args:
        job: says which devices and layout.
        carry: NumPy arrays, in the form of the job's model.
    """
    optimizers = {
        objective: {slot: _placed_slot(job, slot, value) for slot, value in slots.items()}
        for objective, slots in carry["optimizers"].items()
    }
    return {
        "params": place(job, carry["params"], job.params, shard=True),
        "state": place(job, carry["state"], job.state),
        "optimizers": optimizers,
        "scale": place(job, carry["scale"], {}),
        "averages": _placed_averages(job, carry["averages"]),
    }


def _placed_averages(job: Job, averages: Tree) -> Tree:
    if not averages:
        return {}
    return {
        "params": place(job, averages["params"], job.params, shard=True),
        "state": place(job, averages["state"], job.state),
    }


def _placed_slot(job: Job, slot: str, value: Tree) -> Tree:
    return place(job, value, {}) if slot == "step" else place(job, value, job.params, shard=True)


def place_for_inference(job: Job, params: Tree, state: Tree) -> tuple[Tree, Tree]:
    """Parameters and state on every device of a job, whole, for what computes outputs alone."""
    return place(job, params, job.params), place(job, state, job.state)


def usable_params(job: Job, params: Tree) -> Tree:
    """Parameters of a carry as the job's model takes them: complete ones, unless it gathers by itself what it needs."""
    return params if job.model.takes_shards else job.group.gather_params(params)


def fetch_array(job: Job, array: Array) -> np.ndarray:
    """One array of a carry on the host. The other processes take part by :meth:`Group.gather_params` of theirs."""
    return job.backend.to_host(job.group.gather_params(array))


def start_averages(carry: Carry) -> Carry:
    """The same carry, on the host, whose moving averages begin at its values."""
    copied: Tree = optree.tree_map(np.array, carry["params"])
    return {**carry, "averages": {"params": copied, "state": _floats(carry["state"])}}


def _floats(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of the floating-point arrays in nested dicts; a count, for example, has no average."""
    inner = {name: _floats(x) if isinstance(x, Mapping) else np.array(x) for name, x in tree.items()}
    return {name: x for name, x in inner.items() if (x.dtype.kind == "f" if isinstance(x, np.ndarray) else x)}


def model_values(carry: Mapping[str, Any]) -> tuple[Tree, Tree]:
    """The parameters and the state that a model is evaluated and used with: the moving averages, if there are any.

    Args:
        carry: of a training, or as a checkpoint holds it.
    """
    averages, state = carry.get("averages") or {}, carry.get("state") or {}
    if not averages:
        return carry["params"], state
    return averages["params"], _over(state, averages.get("state", {}))


def _over(tree: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts of arrays with those of another in their places."""
    return {
        name: _over(x, other.get(name, {})) if isinstance(x, Mapping) else other.get(name, x)
        for name, x in tree.items()
    }


def trained_part(objective: Objective, params: Mapping[str, Any]) -> dict[str, Any]:
    """What an objective trains, of a tree in the form of the model's parameters: values, specs or shapes."""
    names = params if objective.trains is None else objective.trains
    return {name: params[name] for name in names}


def start_optimizers(carry: Carry, objectives: Iterable[Objective], optimizer: Optimizer) -> Carry:
    """The same carry, on devices, in which the optimizer of each of these objectives is at its start."""
    started = {each.name: optimizer.init(trained_part(each, carry["params"])) for each in objectives}
    return {**carry, "optimizers": {**carry["optimizers"], **started}}


def carry_shapes(model: Model, phase: Phase, optimizer: str, precision: PrecisionName) -> Carry:
    """A carry before it has arrays, as :class:`~hal.contract.program.ArrayShape`.

    Args:
        model: whose parameters and state.
        phase: whose objectives.
        optimizer: name of the optimizer.
        precision: of the plan; decides whether there is a loss scale.
    """
    number = ArrayShape((), "float32")
    params = shapes_of(model.params())
    return {
        "params": params,
        "state": shapes_of(model.state()),
        "optimizers": {
            each.name: {"step": number, **dict.fromkeys(Slots[optimizer], trained_part(each, params))}
            for each in phase.objectives
        },
        "scale": dict.fromkeys(initial_scale(precision), number),
        "averages": {},
    }


def shapes_of(specs: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts of :class:`~hal.nn.Param` as nested dicts of :class:`~hal.contract.program.ArrayShape`."""
    return {
        name: shapes_of(spec) if isinstance(spec, Mapping) else ArrayShape(tuple(spec.shape), spec.dtype)
        for name, spec in specs.items()
    }


def differences(specs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Where parameters do not fit a model, in order of their paths; empty: they fit.

    Args:
        specs: the model's parameters before they have values: nested dicts of :class:`~hal.nn.Param`.
        params: nested dicts of arrays.
    """
    wanted, found = dict(_shapes(specs)), dict(_shapes(params))
    return tuple(
        Difference(path, wanted.get(path), found.get(path))
        for path in sorted({*wanted, *found})
        if wanted.get(path) != found.get(path)
    )


def _shapes(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, inner in tree.items():
        if isinstance(inner, Mapping):
            yield from _shapes(inner, f"{prefix}{name}/")
        else:
            yield prefix + name, tuple(inner.shape)
