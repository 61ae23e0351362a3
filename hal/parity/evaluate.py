"""One op by itself: what it gives, and its gradients for given gradients of its outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optree

from hal import ops
from hal.contract import Backend
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.job.placing import axis_names
from hal.parity.watch import Call
from hal.tensor import Ops, namespace
from hal.types import Array, Tree

__all__ = ["Evaluated", "Evaluator", "is_floating", "smooth"]


@dataclass(frozen=True)
class Evaluated:
    """What one op gave.

    Attributes:
        outputs: its results.
        dtypes: of the results on the device.
        gradients: by name of the argument: gradients of the sum of all floating results, each value weighted by a
            random number in [-1, 1).
    """

    outputs: tuple[np.ndarray, ...]
    dtypes: tuple[str, ...]
    gradients: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evaluator:
    """Runs ops one by one on a device and brings to the host what they give."""

    backend: Backend
    device: Device
    plan: Plan
    seed: int

    def run(self, call: Call, index: int) -> tuple[Tree, Evaluated]:
        """Run an op, forward and backward.

        Args:
            call: the op with its arguments.
            index: its position in the trace; with the seed, what alone decides the weights.

        Returns:
            What the op gave, on the device and on the host.
        """
        result = call.run()
        outputs: list[Any] = optree.tree_leaves(result)
        found = Evaluated(
            tuple(self.backend.to_host(x) for x in outputs),
            tuple(_dtype_of(x) for x in outputs),
            self._gradients(call, outputs, index),
        )
        return result, found

    def place(self, values: np.ndarray, dtype: str = "") -> Array:
        """An array on the device, stored as the plan says."""
        array = self.backend.from_host(values, self.device, axes=axis_names(values), layout=self.plan.layout)
        return ops.cast(array, getattr(namespace(array), dtype)) if is_floating(dtype) else array

    def _gradients(self, call: Call, outputs: Sequence[Array], index: int) -> dict[str, np.ndarray]:
        given: Any = (call.args, dict(call.kwargs))
        leaves: list[Any]
        paths, leaves, structure = optree.tree_flatten_with_path(given)
        names = [_name(call.op, path) for path in paths]
        constant = _CONSTANT.get(call.op, ("like",))
        places = [
            place
            for place, leaf in enumerate(leaves)
            if _is_like(leaf, outputs) and is_floating(_dtype_of(leaf)) and names[place] not in constant
        ]
        weighed = [place for place, x in enumerate(outputs) if is_floating(_dtype_of(x))]
        if not places or not weighed:
            return {}
        random = np.random.Generator(np.random.Philox(key=np.array([self.seed, index], np.uint64)))
        weights = [self.place(2 * random.random(tuple(outputs[p].shape), dtype=np.float32) - 1) for p in weighed]

        def loss(inputs: Sequence[Array]) -> tuple[Array, Tree]:
            merged = list(leaves)
            for place, x in zip(places, inputs, strict=True):
                merged[place] = x
            args: Any
            named: Any
            args, named = structure.unflatten(merged)
            results: list[Any] = optree.tree_leaves(smooth(replace(call, args=args, kwargs=named)).run())
            total: Any = 0.0
            for place, weight in zip(weighed, weights, strict=True):
                total = total + ops.sum(ops.cast(results[place], weight.dtype) * weight)
            return total, ()

        gradient = self.backend.value_and_grad(loss, self.plan)
        _, gradients = gradient([leaves[place] for place in places])
        return {
            names[place]: _unambiguous(call, paths[place], self.backend.to_host, self.backend.to_host(g))
            for place, g in zip(places, gradients, strict=True)
        }


def _dtype_of(array: Array) -> str:
    """The name of a dtype as all frameworks have it: float32, bfloat16, int64."""
    return str(array.dtype).rpartition(".")[2]


def is_floating(dtype: str) -> bool:
    """Whether a dtype is one of floating-point numbers, from its name."""
    return dtype.startswith(("float", "bfloat"))


def _is_like(value: Any, arrays: Sequence[Array]) -> bool:
    """Whether a value is an array too: the same ops serve it."""
    try:
        return bool(arrays) and namespace(value) is namespace(arrays[0])
    except TypeError:
        return False


def _name(op: str, path: tuple[Any, ...]) -> str:
    """What an argument is called, from its place in ``(args, kwargs)``."""
    kind, first, *rest = path
    if kind == 0:
        function = getattr(Ops, op, None)
        names = [name for name in inspect.signature(function).parameters if name != "self"] if function else []
        first = names[first] if first < len(names) else f"x{first + 1}"
    return "/".join(str(part) for part in (first, *rest))


# Arguments that no gradient is asked for: running statistics, which not every framework differentiates, and arrays that
# give their dtype alone.
_CONSTANT: Mapping[str, tuple[str, ...]] = {"batch_norm": ("mean", "variance")}

# Where a function has no derivative several gradients are right, and libraries differ. Some choose among equal values,
# so that only what equal values get together is determined; others have a kink, with any slope between.
_CHOOSING = frozenset({"max", "max_pool2d", "min"})
_KINKS: Mapping[str, Callable[..., tuple[float, ...]]] = {
    "abs": lambda x: (0,),
    "clip": lambda x, min=None, max=None: tuple(bound for bound in (min, max) if isinstance(bound, int | float)),
    "leaky_relu": lambda x, slope=0.01: (0,),
    "relu": lambda x: (0,),
}


def smooth(call: Call) -> Call:
    """The same call, whose gradient is zero for values that lie on a kink."""
    if call.op not in _KINKS:
        return call
    x, *others = call.args
    for at in _KINKS[call.op](*call.args, **call.kwargs):
        x = ops.where(x == at, ops.stop_gradient(x), x)
    return replace(call, args=(x, *others))


def _unambiguous(
    call: Call, path: tuple[Any, ...], to_host: Callable[[Array], np.ndarray], gradient: np.ndarray
) -> np.ndarray:
    """A gradient in which equal values that an op chooses among are told what all of them get."""
    if path != (0, 0) or call.op not in _CHOOSING:
        return gradient
    x = to_host(call.args[0])
    _, group = np.unique(x, return_inverse=True)
    totals = np.bincount(group.ravel(), weights=gradient.ravel().astype(np.float64))
    return totals[group].reshape(gradient.shape).astype(gradient.dtype)
