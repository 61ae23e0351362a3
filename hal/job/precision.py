"""Mixed precision: fp32 parameters, layers in the plan's precision, loss in fp32, dynamic loss scaling for fp16.

Micikevicius et al., "Mixed precision training", arXiv 1710.03740.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import optree

from hal import ops
from hal.contract.device import PrecisionName
from hal.nn import Model
from hal.tensor import namespace
from hal.tensor.many import cast_each
from hal.types import Array, Tree

__all__ = ["cast_inputs", "cast_params", "initial_scale", "next_scale"]

_COMPUTE: Mapping[str, str] = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_FIRST_SCALE = 2.0**15
_GROWTH_STEPS = 2000


def cast_params(params: Tree, specs: Mapping[str, Any], precision: PrecisionName) -> Tree:
    """Parameters as layers compute with them; those that must stay fp32 (:class:`hal.nn.Param`) do."""
    if _COMPUTE[precision] == "float32":
        return params
    chosen: list[Array] = []

    def choose(tree: Any, spec: Any) -> None:
        if isinstance(spec, Mapping):
            for name, child in tree.items():
                choose(child, spec[name])
        elif spec.cast:
            chosen.append(tree)

    def walk(tree: Any, spec: Any) -> Any:
        if isinstance(spec, Mapping):
            return {name: walk(child, spec[name]) for name, child in tree.items()}
        return next(narrow) if spec.cast else tree

    choose(params, specs)
    narrow = iter(cast_each(chosen, _COMPUTE[precision]))
    return walk(params, specs)


def cast_inputs(model: Model, inputs: Tree, precision: PrecisionName) -> Tree:
    """A model's floating inputs in the plan's precision, where hal casts them; integers as they are."""
    if _COMPUTE[precision] == "float32" or not model.casts:
        return inputs

    def cast(x: Array) -> Array:
        xp = namespace(x)
        return xp.cast(x, getattr(xp, _COMPUTE[precision])) if x.dtype == xp.float32 else x

    return optree.tree_map(cast, inputs)


def initial_scale(precision: PrecisionName) -> dict[str, np.ndarray]:
    """State of the loss scale before training; empty where none is needed."""
    if precision != "fp16":
        return {}
    return {"factor": np.array(_FIRST_SCALE, np.float32), "good_steps": np.array(0.0, np.float32)}


def next_scale(scale: Tree, finite: Array) -> Tree:
    """Halve the factor after an overflow, double it after 2000 steps without one."""
    grown = scale["good_steps"] + 1 >= _GROWTH_STEPS
    factor, good = scale["factor"], scale["good_steps"]
    calm_factor = ops.where(grown, factor * 2, factor)
    calm_good = ops.where(grown, good * 0, good + 1)
    return {
        "factor": ops.where(finite, calm_factor, ops.maximum(factor / 2, ops.ones_like(factor))),
        "good_steps": ops.where(finite, calm_good, good * 0),
    }
