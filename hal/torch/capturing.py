"""Graphs of a pass, captured when they are first needed, one for each shape of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optree
import torch

from hal.errors import UnsupportedError
from hal.tensor import namespace
from hal.torch.capture import capture
from hal.torch.comparison import compare
from hal.torch.graph import Graph
from hal.torch.passes import PREFIX, Pass
from hal.torch.places import note_lines_of
from hal.types import Array

__all__ = ["Captured"]

_ANY = 4


class Captured:
    """A pass by neutral ops.

    Args:
        work: a pass of :mod:`hal.torch.passes`.
    """

    def __init__(self, work: Pass) -> None:
        self._work = work
        note_lines_of(work.code.computing)
        self._graphs: dict[Any, Graph] = {}

    def __call__(
        self,
        params: Mapping[str, Array],
        state: Mapping[str, Array],
        args: tuple[Any, ...],
        *,
        training: bool,
        key: Any = None,
        precision: str = "fp32",
    ) -> tuple[Any, dict[str, Array]]:
        """What the pass gives, and the buffers from now on; see :class:`hal.torch.native.Native`."""
        args = _by_name(args)
        leaves: list[Any] = optree.tree_leaves(args)  # type: ignore[arg-type]
        graph = self.graph(optree.tree_map(_example, args), training=training)  # type: ignore[arg-type]
        return graph(params, state, leaves, key, precision=precision)

    def check(self, args: tuple[Any, ...], *, training: bool) -> None:
        """Capture for arguments like these, and compare what was captured with the module itself.

        Raises:
            UnsupportedError: the module cannot be captured or translated, or what was captured differs.
        """
        args = _by_name(args)
        compare(self._work, self.graph(args, training=training), args, {}, training=training)

    def graph(self, args: tuple[Any, ...], *, training: bool) -> Graph:
        """The graph for arguments of some shapes.

        Args:
            args: examples of the arguments.
            training: the mode of the module.

        Raises:
            UnsupportedError: the module cannot be captured or translated.
        """
        leaves: list[Any]
        args = _by_name(args)
        leaves, structure = optree.tree_flatten(args)  # type: ignore[arg-type]
        kinds = (str(structure), training, *((tuple(x.shape[1:]), x.dtype) for x in leaves))
        rows = leaves[0].shape[0]
        for size in (None, rows) if rows > 1 else (rows,):
            if (size, *kinds) in self._graphs:
                return self._graphs[size, *kinds]
        # A batch of one is not like others: PyTorch takes an axis of one for one to be broadcast.
        for size in (None, rows) if rows > 1 else (rows,):
            try:
                graph = capture(self._work, args, {}, training=training, dynamic=size is None, prefix=PREFIX)
            except UnsupportedError:
                if size is not None:
                    raise
                continue  # some modules can be captured for one size of the batch alone
            self._graphs[size, *kinds] = graph
            return graph
        raise AssertionError("a capture either succeeds or raises")


def _by_name(tree: Any) -> Any:
    """The same tree with the entries of each dict in the order of their names.

    A graph takes its inputs in the order of a capture. PyTorch flattens dicts in the order in which they were filled,
    optree and JAX in that of the names, and the function that JAX traces gets them so: two inputs of one shape and type
    would change places.
    """
    if isinstance(tree, Mapping):
        return {name: _by_name(tree[name]) for name in sorted(tree)}
    return type(tree)(map(_by_name, tree)) if isinstance(tree, (tuple, list)) else tree


def _example(array: Array) -> torch.Tensor:
    """Zeros of an array's shape and type, which every range of ids contains; integers as PyTorch's users have them.

    Where a runtime traces for batches of any size, that size is no number: some batch stands for it.
    """
    xp = namespace(array)
    shape = tuple(size if isinstance(size, int) else _ANY for size in array.shape)
    kind = "real floating" if xp.isdtype(array.dtype, "real floating") else "bool"
    if kind == "bool" and array.dtype != xp.bool:
        return torch.zeros(shape, dtype=torch.int64)
    return torch.zeros(shape, dtype=torch.float32 if kind == "real floating" else torch.bool)
