"""One op by itself: what it gives, and its gradients for given gradients of its outputs."""

from __future__ import annotations

import functools
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
from hal.parity.cancellation import gradient_scales_of_op, moved_values, result_scale, signs, sums
from hal.parity.deviation import STEP, Scale
from hal.parity.watch import Call
from hal.tensor import Ops, namespace
from hal.types import Array, Tree

__all__ = ["Evaluated", "Evaluator", "Scales", "is_floating"]


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
class Scales:
    """What the errors of what one op gave are measured by: see :mod:`hal.parity.cancellation`.

    Attributes:
        outputs: of its results; none for those of an op that adds nothing up.
        gradients: by name of the argument.
    """

    outputs: tuple[Scale, ...]
    gradients: Mapping[str, Scale]


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
        leaves: list[Any] = optree.tree_leaves(result)
        outputs, dtypes = tuple(self.backend.to_host(x) for x in leaves), tuple(_dtype_of(x) for x in leaves)
        return result, Evaluated(outputs, dtypes, self._gradients(call, leaves, self._weights(outputs, dtypes, index)))

    def scales(self, call: Call, result: Tree, found: Evaluated, index: int) -> Scales:
        """Run an op again, with its operands moved by a rounding, to see what its errors are to be measured by.

        Args:
            call: the op with its arguments.
            result: what :meth:`run` gave for it, on the device.
            found: the same on the host.
            index: its position in the trace.
        """
        precision, random = self.plan.precision, np.random.default_rng([self.seed, index])
        outputs: tuple[Scale, ...] = ()
        moved = call
        if sums(call.op):
            moved = moved_values(call, self.place, precision, random)
            results: list[Any] = optree.tree_leaves(moved.run())
            pairs = zip(found.outputs, results, strict=True)
            outputs = tuple(result_scale(values, self.backend.to_host(x), precision) for values, x in pairs)
        if not found.gradients:
            return Scales(outputs, {})
        weights = self._weights(found.outputs, found.dtypes, index)
        shifted = [w * (1 + np.float32(STEP[precision]) * signs(w.shape, random)) for w in weights]
        leaves: list[Any] = optree.tree_leaves(result)
        gradients = self._gradients(moved, leaves, shifted)
        arguments = {
            name: functools.partial(self.backend.to_host, leaf) for _, _, name, leaf in _differentiated(call, leaves)
        }
        floating = [x for x, dtype in zip(found.outputs, found.dtypes, strict=True) if is_floating(dtype)]
        weighted = [x * w for x, w in zip(floating, weights, strict=True)]
        return Scales(outputs, gradient_scales_of_op(found.gradients, gradients, arguments, weighted, precision))

    def place(self, values: np.ndarray, dtype: str = "") -> Array:
        """An array on the device, stored as the plan says."""
        array = self.backend.from_host(
            values, self.device, axes="NHWC" if values.ndim == 4 else "", layout=self.plan.layout
        )
        return ops.cast(array, getattr(namespace(array), dtype)) if is_floating(dtype) else array

    def _weights(self, outputs: Sequence[np.ndarray], dtypes: Sequence[str], index: int) -> list[np.ndarray]:
        """What each floating-point result is weighted by, from the seed and the position of the op alone."""
        random = np.random.Generator(np.random.Philox(key=np.array([self.seed, index], np.uint64)))
        shapes = [x.shape for x, dtype in zip(outputs, dtypes, strict=True) if is_floating(dtype)]
        return [2 * random.random(shape, dtype=np.float32) - 1 for shape in shapes]

    def _gradients(self, call: Call, outputs: Sequence[Array], weights: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """By name of the argument, of the sum of the floating-point results with these weights."""
        arguments = _differentiated(call, outputs)
        if not arguments or not weights:
            return {}
        given: Any = (call.args, dict(call.kwargs))
        leaves: list[Any]
        leaves, structure = optree.tree_flatten(given)
        placed = [self.place(weight) for weight in weights]

        def loss(inputs: Sequence[Array]) -> tuple[Array, Tree]:
            merged = list(leaves)
            for (place, _, _, _), x in zip(arguments, inputs, strict=True):
                merged[place] = x
            args: Any
            named: Any
            args, named = structure.unflatten(merged)
            results: list[Any] = optree.tree_leaves(replace(call, args=args, kwargs=named).run())
            total: Any = 0.0
            for x, weight in zip([x for x in results if is_floating(_dtype_of(x))], placed, strict=True):
                total = total + ops.sum(ops.cast(x, weight.dtype) * weight)
            return total, ()

        gradient = self.backend.value_and_grad(loss, self.plan)
        _, gradients = gradient([leaf for _, _, _, leaf in arguments])
        return {
            name: _unambiguous(call, path, self.backend.to_host, self.backend.to_host(g))
            for (_, path, name, _), g in zip(arguments, gradients, strict=True)
        }


def _differentiated(call: Call, outputs: Sequence[Array]) -> list[tuple[int, tuple[Any, ...], str, Array]]:
    """The arguments that gradients are taken of: place among the leaves, path, name, and the array."""
    given: Any = (call.args, dict(call.kwargs))
    leaves: list[Any]
    paths, leaves, _ = optree.tree_flatten_with_path(given)
    constant = _CONSTANT.get(call.op, ("like",))
    found = []
    for place, (path, leaf) in enumerate(zip(paths, leaves, strict=True)):
        name = _name(call.op, path)
        if _is_like(leaf, outputs) and is_floating(_dtype_of(leaf)) and name not in constant:
            found.append((place, path, name, leaf))
    return found


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

# Where several values are equal, libraries choose among them: only what equal values get together is determined.
_CHOOSING = frozenset({"max", "max_pool2d", "min"})


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
