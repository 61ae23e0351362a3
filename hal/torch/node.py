"""What a captured graph is made of: nodes that call ops by name. Plain data, without any framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hal.types import Tree

__all__ = ["Block", "DType", "Node", "Place", "Ref", "mapped"]


@dataclass(frozen=True, slots=True)
class Ref:
    """The value with this number: of an input of the graph or of an earlier node."""

    index: int


@dataclass(frozen=True, slots=True)
class DType:
    """A dtype by its name in PyTorch, such as ``float32``; a backend has its own object for it."""

    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an op comes from.

    Attributes:
        layer: path of the submodule that calls it, ``layer1.0.conv1``; empty for the module itself.
        line: the user's own file and line, ``net.py:12``; empty where PyTorch does not tell.
    """

    layer: str = ""
    line: str = ""

    def __str__(self) -> str:
        parts = [f"layer {self.layer}" if self.layer else "", self.line]
        return " at ".join(part for part in parts if part) or "the module itself"


@dataclass(frozen=True, slots=True)
class Node:
    """One call of an op.

    Attributes:
        index: number of its value.
        op: ``namespace::name.overload``, as in ``aten::add.Tensor``; ``operator::name`` for arithmetic of sizes.
        args: values, :class:`Ref`, :class:`DType`, and tuples of these.
        kwargs: likewise, by name.
        dtype: of the result where that is one tensor, by name.
        place: where the module calls it.
        autocast: whether a narrow precision of the plan changes what it computes in; the module may forbid it.
    """

    index: int
    op: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    dtype: str | None = None
    place: Place = Place()
    autocast: bool = True


@dataclass(frozen=True)
class Block:
    """Nodes in the order in which they run.

    Attributes:
        inputs: numbers of the values that are given.
        nodes: what runs.
        outputs: a tuple of values, like the arguments of a node.
        dead: for the number of a node, the values that no later node reads.
    """

    inputs: tuple[int, ...]
    nodes: tuple[Node, ...]
    outputs: Any
    dead: Mapping[int, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        kept: set[int] = set()
        mapped(self.outputs, lambda ref: kept.add(ref.index))
        dead: dict[int, tuple[int, ...]] = {}
        for node in reversed(self.nodes):
            read: set[int] = set()
            mapped((node.args, tuple(node.kwargs.values())), lambda ref, read=read: read.add(ref.index))  # type: ignore[misc]
            dead[node.index] = tuple(sorted(read - kept))
            kept |= read
        object.__setattr__(self, "dead", dead)


def mapped(value: Tree, found: Callable[[Ref], Any]) -> Tree:
    """A value of a node's arguments, with each reference replaced by what a function gives for it."""
    if isinstance(value, Ref):
        return found(value)
    if isinstance(value, tuple):
        return tuple(mapped(inner, found) for inner in value)
    return value
