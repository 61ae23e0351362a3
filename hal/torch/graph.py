"""A captured module as a function of arrays of any backend."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hal.errors import ShapeError, UnsupportedError
from hal.nn import Layer
from hal.tensor import namespace
from hal.torch.autocast import casting
from hal.torch.node import Block, Node, Ref
from hal.torch.table import Call, entry_of
from hal.types import Array, Tree

__all__ = ["Graph", "Observer", "Source", "filled"]

Observer = Callable[[Node, Callable[[], Any]], Any]
"""Gets each node and what computes its value; gives the value that the graph goes on with."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input of the graph comes from.

    Attributes:
        kind: ``parameter``, ``buffer``, ``constant``, ``input`` or ``value``.
        of: the name of a parameter, buffer or constant; the position among the inputs; the value itself.
    """

    kind: str
    of: Any


@dataclass(frozen=True)
class Graph:
    """What a module computes, in one mode, as calls of PyTorch's ops.

    Attributes:
        parameters: names as in the module's ``named_parameters()``; of tied ones the first.
        buffers: names of those that are read, non-persistent ones included.
        constants: tensors that the module's code holds, by a name of the graph's own.
        mutated: buffers that a call changes.
        block: the ops.
        sources: of each input of the block.
        outputs: the module's own output tree, with a :class:`hal.torch.node.Ref` for each tensor.
        updates: the new value of each mutated buffer.
        prefix: what was removed from the module's own names.
    """

    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    constants: Mapping[str, np.ndarray]
    mutated: tuple[str, ...]
    block: Block = field(repr=False)
    sources: tuple[Source, ...] = field(repr=False)
    outputs: Tree = field(repr=False)
    updates: Mapping[str, Ref] = field(repr=False)
    prefix: str = ""

    def __call__(
        self,
        params: Mapping[str, Array],
        buffers: Mapping[str, Array],
        inputs: Sequence[Array],
        key: Any = None,
        *,
        precision: str = "fp32",
        observer: Observer | None = None,
    ) -> tuple[Any, dict[str, Array]]:
        """Run the module on a backend.

        Args:
            params: values by name, for :attr:`parameters`; of floating-point numbers.
            buffers: values by name, for :attr:`buffers` and more.
            inputs: the arrays among the arguments of the module, in the order of a call: positional ones, then those
                by name, and the leaves of nested ones in turn.
            key: random key; needed where the module draws random numbers.
            precision: as in a plan; ``bf16`` and ``fp16`` compute as under ``torch.autocast``.
            observer: sees each op.

        Returns:
            The module's outputs, in tuples, lists and dicts as the module gives them, and all buffers from now on.

        Raises:
            ShapeError: the count of inputs is not that of the module's tensors.
        """
        wanted = sum(source.kind == "input" for source in self.sources)
        if len(inputs) != wanted:
            raise ShapeError(f"the module was captured with {wanted} tensors as inputs, but {len(inputs)} were given")
        like = next(iter((*inputs, *params.values(), *buffers.values())))
        given = {"parameter": params, "buffer": buffers, "constant": _Constants(self.constants, like)}
        xp, values = namespace(like), dict[int, Any]()
        for index, source in zip(self.block.inputs, self.sources, strict=True):
            if source.kind == "value":
                values[index] = source.of
            else:
                array = inputs[source.of] if source.kind == "input" else given[source.kind][source.of]
                values[index] = _computable(xp, array)
        run = _Run(like, xp, key, precision, observer)
        run.block(self.block, values)
        updated = {name: values[ref.index] for name, ref in self.updates.items()}
        return filled(self.outputs, values), {**buffers, **updated}


def _computable(xp: Any, array: Array) -> Array:
    """An array in a dtype that the backend computes with: one may hold 64-bit integers and compute with 32."""
    info = xp.__array_namespace_info__()
    if xp.isdtype(array.dtype, "integral") and not any(array.dtype == dtype for dtype in info.dtypes().values()):
        return xp.cast(array, info.default_dtypes()["integral"])
    return array


class _Constants(Mapping[str, Array]):
    """NumPy arrays by name, as arrays beside another."""

    def __init__(self, values: Mapping[str, np.ndarray], like: Array) -> None:
        self._values, self._like = values, like

    def __getitem__(self, name: str) -> Array:
        xp = namespace(self._like)
        return xp.asarray(self._values[name], **xp._placed(self._like))

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class _Step(Layer):
    """The layer of a captured module that calls an op, as those who watch layers see it."""

    path: str | None = None

    def apply(
        self, params: Tree, state: Tree, x: Callable[[], Any], *, training: bool = False, key: Any = None
    ) -> tuple[Any, Tree]:
        """Call what was given for x."""
        return x(), state


@dataclass(frozen=True)
class _Run:
    """One run of a graph."""

    like: Array
    xp: Any
    key: Any
    precision: str
    observer: Observer | None

    def block(self, block: Block, values: dict[int, Any]) -> None:
        """Run a block, whose inputs are among the values; add its nodes' values, and drop those not needed later."""
        for node in block.nodes:
            compute = functools.partial(self.node, node, values)
            values[node.index] = compute() if self.observer is None else self.observer(node, compute)
            for dead in block.dead[node.index]:
                del values[dead]

    def node(self, node: Node, values: Mapping[int, Any]) -> Any:
        args = filled(node.args, values)
        kwargs = {name: filled(value, values) for name, value in node.kwargs.items()}
        call = Call(self.xp, self.like, node, self.key)
        cast = casting(self.precision, node.op) if node.autocast else None
        if cast is not None:
            args, kwargs = cast(call, args), dict(zip(kwargs, cast(call, tuple(kwargs.values())), strict=True))
        entry = entry_of(node.op)
        if entry is None:
            raise UnsupportedError(f"{node.op} has no translation")
        line = f" ({node.place.line})" if node.place.line else ""
        found, _ = _Step(f"{node.place.layer}{line}").apply({}, {}, functools.partial(entry, call, *args, **kwargs))
        return found


def filled(tree: Tree, values: Mapping[int, Any]) -> Any:
    """A tree of tuples, lists and dicts with the values in place of the references to them."""
    if isinstance(tree, Ref):
        return values[tree.index]
    if isinstance(tree, tuple):
        inner = (filled(each, values) for each in tree)
        return type(tree)(*inner) if hasattr(tree, "_fields") else tuple(inner)
    if isinstance(tree, list):
        return [filled(each, values) for each in tree]
    if isinstance(tree, dict):
        return {name: filled(each, values) for name, each in tree.items()}
    return tree
