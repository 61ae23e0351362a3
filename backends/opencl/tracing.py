"""Runs a function on arrays that stand for those of later calls, to learn what it computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from hal.backends.opencl.array import OpenclArray

__all__ = ["Trace", "donated_arrays", "is_tracing", "trace"]

_TRACING = threading.local()


@dataclass(frozen=True)
class Trace:
    """What a function computes of its inputs.

    Attributes:
        outputs: the arrays among its results.
        positions: where each of them is among the results' leaves.
        leaves: the other results; None where an array is.
        structure: of the results.
    """

    outputs: tuple[OpenclArray, ...]
    positions: tuple[int, ...]
    leaves: tuple[Any, ...]
    structure: Any


def is_tracing() -> bool:
    """Whether this thread is running a function that is being traced."""
    return bool(getattr(_TRACING, "depth", 0))


def donated_arrays(args: Sequence[Any], leaves: Sequence[Any], donate: Collection[int]) -> frozenset[int]:
    """Positions, among the arrays that a function is called with, of those that are donated.

    Args:
        args: of the function.
        leaves: of all of them.
        donate: positions of the arguments that are donated.
    """
    owners = [number for number, arg in enumerate(args) for _ in optree.tree_leaves(arg)]
    arrays = [owner for owner, leaf in zip(owners, leaves, strict=True) if isinstance(leaf, OpenclArray)]
    return frozenset(position for position, owner in enumerate(arrays) if owner in donate)


def trace(fn: Callable[..., Any], leaves: Sequence[Any], structure: Any) -> Trace:
    """Trace a function.

    Args:
        fn: a function of trees.
        leaves: of its arguments. An array stands for any array of its form.
        structure: of its arguments.
    """
    inputs, count = list(leaves), 0
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, OpenclArray):
            inputs[place] = OpenclArray("input", (), count, leaf.shape, leaf.dtype, leaf.runtime)
            count += 1
    _TRACING.depth = getattr(_TRACING, "depth", 0) + 1
    try:
        results = fn(*structure.unflatten(inputs))
    finally:
        _TRACING.depth -= 1
    found, shape = optree.tree_flatten(results)
    positions = tuple(i for i, leaf in enumerate(found) if isinstance(leaf, OpenclArray))
    others = tuple(None if i in positions else leaf for i, leaf in enumerate(found))
    return Trace(tuple(found[i] for i in positions), positions, others, shape)
