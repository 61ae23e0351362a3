"""Which reductions one kernel computes side by side: those that reduce the same axes and read the same arrays.

The maximum of a window and its place are such siblings, and so are the gradients of a normalization's scale and offset.
What they read in common is read once. Where one of them is computed from another, they cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.kernel import Facts
from hal.backends.opencl.codegen.reduction import form_of_reduction
from hal.backends.opencl.grouping import Group, read_by

__all__ = ["Siblings", "find_siblings"]

_MOST_REDUCTIONS = 4
"""So many reductions share a kernel: each has registers of its own."""


@dataclass(eq=False)
class Siblings:
    """Reductions that one kernel computes.

    Attributes:
        pairs: each reduction, and what the kernel writes: itself, or what follows from it.
        inputs: nodes in memory that it reads.
    """

    pairs: list[tuple[OpenclArray, OpenclArray]]
    inputs: list[OpenclArray] = field(default_factory=list)

    @property
    def outputs(self) -> list[OpenclArray]:
        """What the kernel writes."""
        return [out for _, out in self.pairs]


class Cut(Protocol):
    """How a graph is cut into kernels; see :class:`~hal.backends.opencl.fusion.Partition`."""

    nodes: list[OpenclArray]
    written: set[int]
    followed: dict[int, OpenclArray]
    groups: dict[int, Group | Siblings]

    def in_memory(self, node: OpenclArray) -> bool:
        """Whether a node has memory of its own."""
        ...

    def before(self, node: OpenclArray) -> Sequence[OpenclArray]:
        """What has to be computed before a node."""
        ...


def find_siblings(cut: Cut, facts: Facts) -> dict[int, Siblings]:
    """The siblings of a graph, by the id of each of their outputs.

    Args:
        cut: the kernels so far, whose nodes come after what they are computed from.
        facts: of the device.
    """
    finder = _Finder(cut, facts)
    for number in range(len(finder.candidates)):
        finder.place(number)
    return {id(out): each for each in finder.found() for out in each.outputs}


class _Finder:
    def __init__(self, cut: Cut, facts: Facts) -> None:
        self.cut = cut
        self.facts = facts
        self.candidates: list[tuple[OpenclArray, OpenclArray]] = []
        self.before: list[int] = []  # the others that each is computed from, as bits
        masks: dict[int, int] = {}
        for node in cut.nodes:
            mask = 0
            for source in cut.before(node):
                mask |= masks.get(id(source), 0)
            first = cut.followed.get(id(node), node)
            if id(node) in cut.written and first.op == "reduce" and id(node) not in cut.groups and node.size:
                self.before.append(mask)
                mask |= 1 << len(self.candidates)
                self.candidates.append((first, node))
            masks[id(node)] = mask
        self.sets: list[list[int]] = []
        self._by_form: dict[Any, list[list[int]]] = {}

    def place(self, number: int) -> None:
        """Put a reduction with others of its form, if it may be, or let it wait for more of them."""
        node, _ = self.candidates[number]
        x = node.sources[0]
        form = (x.shape, tuple(node.attributes[1]), form_of_reduction(node, self.facts), id(node.runtime))
        known = self._by_form.setdefault(form, [])
        for each in known:
            if self._fits(each, number):
                each.append(number)
                self._tie(each)
                return
        known.append([number])
        self.sets.append(known[-1])

    def _fits(self, members: Sequence[int], number: int) -> bool:
        if len(members) == _MOST_REDUCTIONS or any(self._depend(number, each) for each in members):
            return False
        mine = self._reads(number)
        theirs = {key: node for each in members for key, node in self._reads(each).items()}
        shared = any(node.size > 1 for key, node in mine.items() if key in theirs)
        return shared and len({*mine, *theirs}) + len(members) + 1 <= self.facts.most_parameters

    def _depend(self, one: int, other: int) -> bool:
        return bool(self.before[one] >> other & 1 or self.before[other] >> one & 1)

    def _tie(self, members: Sequence[int]) -> None:
        """From now on, what is computed from one of them waits for all that any of them is computed from."""
        bits = sum(1 << each for each in members)
        before = 0
        for each in members:
            before |= self.before[each]
        for number, mask in enumerate(self.before):
            if number in members:
                self.before[number] = before
            elif mask & bits:
                self.before[number] = mask | bits | before

    def _reads(self, number: int) -> dict[int, OpenclArray]:
        """What is in memory of all that a reduction and what follows from it are computed from."""
        _, out = self.candidates[number]
        found: dict[int, OpenclArray] = {}
        seen: set[int] = set()
        stack = list(read_by(out))
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if self.cut.in_memory(node):
                found[id(node)] = node
            else:
                stack.extend(read_by(node))
        return found

    def found(self) -> list[Siblings]:
        """Those of more than one."""
        several = [members for members in self.sets if len(members) > 1]
        return [
            Siblings(
                [self.candidates[number] for number in members],
                list({key: node for number in members for key, node in self._reads(number).items()}.values()),
            )
            for members in several
        ]
