"""What errors are measured by where terms cancel: docs/verify.md derives it.

A value that is the small difference of large terms is as wrong as the rounding of the terms makes it, so that its own
magnitude says nothing about how far off it may be. The gradient of a bias before a batch normalization is zero in
theory, and what a device gives for it is rounding alone. The reference therefore runs once more with its operands moved
by a rounding, up or down at random. How far a result moves, divided by the rounding, is the magnitude of its terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optree

from hal import ops
from hal.contract.device import PrecisionName
from hal.parity.deviation import ROUNDING, STEP, Scale, scale_of
from hal.parity.watch import Call
from hal.tensor import namespace
from hal.types import Array, Tree

__all__ = [
    "Place",
    "cancellation",
    "gradient_scales",
    "gradient_scales_of_op",
    "moved_back",
    "moved_values",
    "result_scale",
    "signs",
    "sums",
]

Place = Callable[[np.ndarray, str], Array]
"""Puts values from the host beside an array, in a dtype."""

_SUMMING = frozenset(
    "attention avg_pool2d batch_norm conv1d conv2d conv2d_transpose cumulative_sum einsum group_norm index_put "
    "layer_norm linear matmul mean scatter std sum tensordot var vecdot".split()
)

_USUAL = 4.0
"""How many roundings the result of a sum of random terms moves by if each term moves by one, at the most."""

_BOTH = 2.0
"""The same for a gradient, which moves with the weights of the results and with the arguments."""


def sums(op: str) -> bool:
    """Whether an op adds terms up, so that its results may cancel; all others are judged by their own magnitude."""
    return op in _SUMMING


def cancellation(values: np.ndarray, scale: Scale) -> float:
    """How many times smaller values are than what their errors are measured by; 1 where nothing cancels."""
    own = scale_of(values).typical
    if scale.typical <= own:
        return 1.0
    return scale.typical / own if own else np.inf


def moved_values(call: Call, place: Place, precision: PrecisionName, random: np.random.Generator) -> Call:
    """The same call with every floating-point argument moved by a rounding."""
    return _with_leaves(call, lambda x: x * _factors(x, place, STEP[precision], random))


def moved_back(call: Call, place: Place, precision: PrecisionName, random: np.random.Generator) -> Call:
    """The same call on the same values; the gradients that flow back to its arguments are moved by a rounding."""

    def move(x: Array) -> Array:
        moved = x * _factors(x, place, STEP[precision], random)
        away = ops.stop_gradient(x - moved)
        return moved + ops.where(ops.isfinite(away), away, ops.zeros_like(away))

    return _with_leaves(call, move)


def signs(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """1 or -1 for each element, as chance decides; fp32."""
    return 2 * random.integers(0, 2, shape, np.int8).astype(np.float32) - 1


def result_scale(values: np.ndarray, moved: np.ndarray, precision: PrecisionName) -> Scale:
    """What the errors of an op's result are measured by.

    Args:
        values: the result.
        moved: the result for moved arguments.
        precision: of the run.
    """
    return scale_of(values).or_larger(_terms(values, moved, _USUAL * STEP[precision]))


def gradient_scales_of_op(
    gradients: Mapping[str, np.ndarray],
    moved: Mapping[str, np.ndarray],
    arguments: Mapping[str, Callable[[], np.ndarray]],
    weighted: Sequence[np.ndarray],
    precision: PrecisionName,
) -> dict[str, Scale]:
    """What the errors of the gradients of one op are measured by.

    Args:
        gradients: by name of the argument.
        moved: the same where the weights of the results were moved by a rounding, and the arguments too if the op
            adds terms up.
        arguments: give the values of the arguments.
        weighted: the results, multiplied by their weights.
        precision: of the run.
    """
    found = {}
    for name, values in gradients.items():
        terms = _terms(values, moved[name], _BOTH * STEP[precision])
        if _undetermined(values, terms, precision):
            terms = terms.or_larger(_natural(weighted, arguments[name]()))
        found[name] = scale_of(values).or_larger(terms)
    return found


def gradient_scales(
    gradients: Mapping[str, np.ndarray],
    moved: Sequence[Mapping[str, np.ndarray]],
    ops_moved: int,
    precision: PrecisionName,
) -> dict[str, Scale]:
    """What the errors of the gradients of a whole model are measured by.

    Args:
        gradients: of each parameter.
        moved: the same from runs in which the gradients that flow back to the arguments of each op were moved.
        ops_moved: how many ops were moved in each run. Roundings that are independent add up like a random walk, and
            the limits of a whole gradient allow for the depth of a model.
        precision: of the run.
    """
    step = STEP[precision] * max(ops_moved, 1) ** 0.5
    terms = {}
    for name, values in gradients.items():
        runs = [_terms(values, each[name], step) for each in moved]
        typical = float(np.sqrt(np.mean([each.typical**2 for each in runs])))
        terms[name] = Scale(largest=max(each.largest for each in runs), typical=typical)
    found = {name: scale_of(values).or_larger(terms[name]) for name, values in gradients.items()}
    highest = max((each.typical for each in found.values()), default=0.0)
    rounding = Scale(largest=highest, typical=highest).times(ROUNDING[precision])
    return {
        name: each.or_larger(rounding) if _undetermined(gradients[name], terms[name], precision) else each
        for name, each in found.items()
    }


def _terms(values: np.ndarray, moved: np.ndarray, step: float) -> Scale:
    """The magnitude of the terms that add up to values, from what the values become when the terms move by a step."""
    return scale_of(np.asarray(moved, np.float64) - np.asarray(values, np.float64)).times(1 / step)


def _undetermined(values: np.ndarray, terms: Scale, precision: PrecisionName) -> bool:
    """Whether values are nothing but rounding, or zero: a rounding of their terms moves them by a quarter or more."""
    return 4 * STEP[precision] * terms.typical >= scale_of(values).typical


def _natural(weighted: Sequence[np.ndarray], argument: np.ndarray) -> Scale:
    """The gradient of an argument that the results are proportional to: the results divided by the argument.

    An argument that is zero is measured as ones.
    """
    result, size = (_norm(arrays) for arrays in (weighted, [argument]))
    found = result / (size or max(argument.size, 1) ** 0.5)
    return Scale(largest=found, typical=found) if np.isfinite(found) else Scale()


def _norm(arrays: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(sum(float(np.sum(np.square(np.asarray(x, np.float64)))) for x in arrays)))


def _with_leaves(call: Call, move: Callable[[Array], Array]) -> Call:
    given: Any = (call.args, dict(call.kwargs))
    args: Any
    kwargs: Any
    args, kwargs = optree.tree_map(lambda leaf: move(leaf) if _floating(leaf) else leaf, given)
    return replace(call, args=args, kwargs=kwargs)


def _floating(leaf: Tree) -> bool:
    """Whether a value is an array of floating-point numbers that a backend serves; keys are not."""
    if not _dtype(leaf).startswith(("float", "bfloat")):
        return False
    try:
        return namespace(leaf) is not None
    except TypeError:
        return False


def _dtype(leaf: Tree) -> str:
    return str(getattr(leaf, "dtype", "")).rpartition(".")[2]


def _factors(x: Array, place: Place, step: float, random: np.random.Generator) -> Array:
    """1 + step or 1 - step for each element, as chance decides."""
    return place(1 + np.float32(step) * signs(tuple(x.shape), random), _dtype(x))
