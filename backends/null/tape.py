"""Reverse-mode differentiation without values: what is kept for it, what it allocates, and what it costs.

Each differentiable op leaves a node that holds what its backward step will read. Nodes hang on the arrays that they
produced, so that what nothing needs any more is released at once. Going back, a step allocates the gradients of its
inputs, reads those of its outputs, and then releases these and what the node held. A second gradient of one array is
added in place where nothing else sees it.

A step costs as many operations as the op itself, and for products (matrices, convolutions) as many for each factor
that needs a gradient. A view's gradient is a view, and addition passes its gradient on; both cost nothing.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hal.backends._traced.dtypes import DType
from hal.backends.null.cost import Storage, record

__all__ = ["Node", "Parent", "Spec", "unwind"]

_sequence = itertools.count()


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and type of an array, without the array."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def size(self) -> int:
        """Count of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Parent:
    """An input that needs a gradient.

    Attributes:
        node: what made it.
        slot: as which of that node's outputs.
        spec: its form.
        passes: its gradient is that of the output itself, if no broadcasting or slicing lies between.
    """

    node: Node
    slot: int
    spec: Spec
    passes: bool


@dataclass(slots=True)
class _Gradient:
    storage: Storage
    spec: Spec
    shared: bool


class Node:
    """One differentiable op, or a leaf where there is none.

    Args:
        name: the op's name.
        parents: inputs that need a gradient.
        saved: memory that the backward step reads.
        flops: operations of the backward step.
    """

    __slots__ = ("flops", "incoming", "name", "parents", "saved", "sequence")

    def __init__(
        self, name: str = "leaf", parents: Sequence[Parent] = (), saved: Sequence[Storage] = (), flops: int = 0
    ) -> None:
        self.name = name
        self.parents = tuple(parents)
        self.saved = tuple(saved)
        self.flops = flops
        self.sequence = next(_sequence)
        self.incoming: dict[int, _Gradient] = {}

    def receive(self, slot: int, new: _Gradient) -> None:
        """Add a gradient to what has come in for an output so far."""
        old = self.incoming.get(slot)
        if old is None:
            self.incoming[slot] = new
            return
        if old.shared:
            self.incoming[slot] = _Gradient(Storage(new.spec.nbytes), new.spec, False) if new.shared else new
        shape, dtype = new.spec.shape, new.spec.dtype
        moved = 3 * new.spec.nbytes
        record(
            "accumulate",
            "backward",
            (shape, shape),
            (shape,),
            dtype=dtype.name,
            flops=new.spec.size,
            bytes_moved=moved,
        )

    def step(self, first: int) -> list[Node]:
        """Hand gradients on to the parents that are not older than ``first``; release what this node held.

        Returns:
            The parents reached.
        """
        reached = [parent for parent in self.parents if parent.node.sequence >= first]
        passed = [self._passes(parent) for parent in reached]
        outgoing = []
        for parent, passes in zip(reached, passed, strict=True):
            if passes:
                source = self.incoming[0]
                outgoing.append(_Gradient(source.storage, parent.spec, source.shared or sum(passed) > 1))
            else:
                outgoing.append(_Gradient(Storage(parent.spec.nbytes), parent.spec, False))
        self._record(
            [p.spec for p in reached], [p.spec for p, passes in zip(reached, passed, strict=True) if not passes]
        )
        self.incoming.clear()
        self.parents = self.saved = ()
        for parent in reached:
            parent.node.receive(parent.slot, outgoing.pop(0))
        return [parent.node for parent in reached]

    def _passes(self, parent: Parent) -> bool:
        if not parent.passes:
            return False
        output = self.incoming[0].spec
        return output.size == parent.spec.size and output.dtype == parent.spec.dtype

    def _record(self, results: list[Spec], written: list[Spec]) -> None:
        if not results:
            return
        sources = [g.spec for g in self.incoming.values()]
        flops = moved = 0
        if written:
            flops = self.flops
            moved = sum(spec.nbytes for spec in (*sources, *written)) + sum(s.nbytes for s in self.saved)
        shapes = [spec.shape for spec in sources], [spec.shape for spec in results]
        record(self.name, "backward", *shapes, dtype=results[0].dtype.name, flops=flops, bytes_moved=moved)


def unwind(root: Node, slot: int, spec: Spec, leaves: Sequence[Node]) -> list[Storage | None]:
    """Go back from an output to leaves, the youngest op first.

    Args:
        root: the op that made the output.
        slot: as which of its outputs.
        spec: the output's form.
        leaves: made before anything that depends on them.

    Returns:
        For each leaf the memory of its gradient; None where the output does not depend on it.
    """
    first = min(leaf.sequence for leaf in leaves)
    root.receive(slot, _Gradient(Storage(spec.nbytes), spec, False))
    queue = [(-root.sequence, root)]
    waiting = {root.sequence}
    own = set(map(id, leaves))
    while queue:
        node = heapq.heappop(queue)[1]
        if id(node) in own:
            continue
        for parent in node.step(first):
            if parent.sequence not in waiting:
                waiting.add(parent.sequence)
                heapq.heappush(queue, (-parent.sequence, parent))
    return [leaf.incoming.pop(0).storage if leaf.incoming else None for leaf in leaves]
