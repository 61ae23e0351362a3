"""Which reductions of the same rows, and what lies between them and follows from them, one kernel computes.

A kernel of rows computes one row after the other: each reduction in a pass over the row, and what is written for each
element in the last pass. Its nodes are lined up: element ``i`` of a node of the size of the results belongs to row
``i``, and element ``i`` of a node of all elements belongs to row ``i // length``. Nodes keep in line through functions
of elements, reshaping, repetition along the rows, and sums along them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.kernel import Facts
from hal.backends.opencl.codegen.pieces import enough_rows

__all__ = ["Group", "Groups", "find_groups", "read_by"]

_ELEMENTWISE = ("map", "detach", "custom", "reshape")
_MOST_FUNCTIONS = 40
"""So many elementwise functions a group has at most; a pass may compute each of them again."""


class Cut(Protocol):
    """How a graph is cut into kernels; see :class:`~hal.backends.opencl.fusion.Partition`."""

    nodes: list[OpenclArray]
    written: set[int]
    followed: dict[int, OpenclArray]

    def in_memory(self, node: OpenclArray) -> bool:
        """Whether a node has memory of its own."""
        ...


@dataclass(eq=False)
class Group:
    """Nodes that one kernel computes row by row.

    Attributes:
        rows: how many rows there are.
        length: elements of a row.
        members: the nodes, each after those that it is computed from.
        outputs: those of them that the kernel writes.
        inputs: nodes in memory that it reads.
    """

    rows: int
    length: int
    members: list[OpenclArray]
    outputs: list[OpenclArray] = field(default_factory=list)
    inputs: list[OpenclArray] = field(default_factory=list)

    @property
    def worthwhile(self) -> bool:
        """Whether it saves a launch that a kernel of a single reduction cannot save."""
        reductions = sum(member.op == "reduce" for member in self.members)
        return reductions > 1 or (reductions == 1 and any(m.size > self.rows for m in self.members if m.op != "reduce"))


Groups = Mapping[int, Group]
"""The group of each node, by the id of the node."""


def read_by(node: OpenclArray) -> tuple[OpenclArray, ...]:
    """The sources that the values of a node are computed from; others only take part in differentiation."""
    return node.sources[:1] if node.op == "custom" else node.sources


def rows_of_reduction(node: OpenclArray, facts: Facts) -> tuple[int, int] | None:
    """How many rows a reduction has, and how long they are; None: no group computes it."""
    if node.op != "reduce" or node.attributes[0].startswith("arg") or node.size == 0:
        return None
    x, axes = node.sources[0], node.attributes[1]
    long = [axis for axis in range(x.ndim) if x.shape[axis] != 1]
    if [axis for axis in axes if x.shape[axis] != 1] != long[-1:] or x.shape[long[-1]] > facts.longest_row:
        return None
    return (node.size, x.shape[long[-1]]) if enough_rows(facts, node.size, x.size) else None


def find_groups(cut: Cut, facts: Facts, wanted: Iterable[OpenclArray]) -> dict[int, Group]:
    """The groups of a graph. What only its own group reads is no longer written.

    Args:
        cut: what is written so far, one kernel each.
        facts: of the device.
        wanted: nodes that stay written.
    """
    finder = _Finder(cut, facts)
    for node in cut.nodes:
        if id(node) in cut.written and node.storage is None and id(node) not in cut.followed and node.size:
            finder.add(node)
    groups = {key: group for key, group in finder.groups.items() if group.worthwhile}
    kept = {id(node) for node in wanted}
    for node in cut.nodes:
        if id(node) in cut.written and node.storage is None:
            group = groups.get(id(node))
            kept |= {id(read) for read, _ in finder.reads(node) if groups.get(id(read)) is not group}
    for group in {id(group): group for group in groups.values()}.values():
        group.outputs = [member for member in group.members if id(member) in kept]
        group.inputs = finder.inputs(group)
        cut.written -= {id(member) for member in group.members if id(member) not in kept}
    return groups


class _Finder:
    def __init__(self, cut: Cut, facts: Facts) -> None:
        self.cut = cut
        self.facts = facts
        self.groups: dict[int, Group] = {}
        self.order = {id(node): number for number, node in enumerate(cut.nodes)}
        self._reads: dict[int, list[tuple[OpenclArray, bool]]] = {}

    def add(self, node: OpenclArray) -> None:
        """Put a node into the groups that it follows from, which become one, or let a reduction begin a group."""
        rows = rows_of_reduction(node, self.facts)
        if rows is None and node.op not in _ELEMENTWISE:
            return
        near: dict[int, Group] = {}
        for read, in_line in self.reads(node):
            group = self.groups.get(id(read))
            if group is not None and in_line:
                near[id(group)] = group
        for one in self._choices(node, rows, list(near.values())):
            if self._possible(one):
                self.groups.update((id(member), one) for member in one.members)
                return
        if rows is not None:
            self.groups[id(node)] = Group(*rows, [node])

    def _choices(self, node: OpenclArray, rows: tuple[int, int] | None, near: Sequence[Group]) -> Iterator[Group]:
        """Groups that a node could be in, the largest first."""
        for rows_, length in {rows} if rows else {(group.rows, group.length) for group in near}:
            fitting = [group for group in near if (group.rows, group.length) == (rows_, length)]
            if not fitting or node.size not in (rows_, rows_ * length):
                continue
            for part in (fitting, *([group] for group in fitting if len(fitting) > 1)):
                members = [member for group in part for member in group.members]
                yield Group(rows_, length, [*sorted(members, key=lambda each: self.order[id(each)]), node])

    def _possible(self, group: Group) -> bool:
        """Whether one kernel can compute all members from what is in memory before."""
        own = {id(member) for member in group.members}
        for member in group.members:
            if any(id(read) in own and not in_line for read, in_line in self.reads(member)):
                return False
        inputs = self.inputs(group)
        if len(inputs) + len(group.members) > self.facts.most_parameters:
            return False
        return self._functions(group) <= _MOST_FUNCTIONS and not self._depend(inputs, own)

    def reads(self, node: OpenclArray) -> list[tuple[OpenclArray, bool]]:
        """What the kernel of a node reads in memory, and whether it is in line with the node."""
        if id(node) not in self._reads:
            found: list[tuple[OpenclArray, bool]] = []
            seen: set[tuple[int, bool]] = set()
            stack = [(source, in_line) for source, in_line in _in_line(node, True)]
            while stack:
                at, in_line = stack.pop()
                if (id(at), in_line) in seen:
                    continue
                seen.add((id(at), in_line))
                if self.cut.in_memory(at):
                    found.append((at, in_line))
                else:
                    stack.extend(_in_line(at, in_line))
            self._reads[id(node)] = found
        return self._reads[id(node)]

    def inputs(self, group: Group) -> list[OpenclArray]:
        """What the members read in memory, without themselves."""
        own = {id(member) for member in group.members}
        found = {id(read): read for member in group.members for read, _ in self.reads(member) if id(read) not in own}
        return list(found.values())

    def _functions(self, group: Group) -> int:
        own = {id(member) for member in group.members}
        seen: set[int] = set()
        stack = list(group.members)
        count = 0
        while stack:
            at = stack.pop()
            if id(at) in seen:
                continue
            seen.add(id(at))
            count += at.op == "map"
            stack.extend(s for s in read_by(at) if id(s) in own or not self.cut.in_memory(s))
        return count

    def _depend(self, inputs: Iterable[OpenclArray], own: set[int]) -> bool:
        """Whether what a group reads is computed from one of its own members, so that it could not run at once."""
        first = self._first({self.order[key] for key in own})
        stack, seen = list(inputs), set[int]()
        while stack:
            at = stack.pop()
            if id(at) in own:
                return True
            if id(at) in seen or self.order[id(at)] < first or at.storage is not None:
                continue
            seen.add(id(at))
            stack.extend(read_by(at))
            if id(at) in self.groups:
                stack.extend(self.groups[id(at)].members)
        return False

    def _first(self, places: set[int]) -> int:
        """A place in the order of the nodes before which nothing is computed from nodes at some places or later."""
        spans = {
            (self.order[id(group.members[0])], self.order[id(group.members[-1])]) for group in self.groups.values()
        }
        first = min(places)
        while earlier := [start for start, end in spans if start < first <= end]:
            first = min(earlier)
        return first


def _in_line(node: OpenclArray, in_line: bool) -> list[tuple[OpenclArray, bool]]:
    """What a node is computed from, and whether that is in line with it."""
    if node.op in _ELEMENTWISE or rows_in_line(node):
        return [(source, in_line) for source in read_by(node)]
    return [(source, False) for source in read_by(node)]


def rows_in_line(node: OpenclArray) -> bool:
    """Whether a node repeats or reduces rows: axes of its result behind which there are none but of size 1."""
    if node.op not in ("expand", "reduce"):
        return False
    (source,) = node.sources
    small, large = (source.shape, node.shape) if node.op == "expand" else (node.shape, source.shape)
    first = next((axis for axis in range(len(small)) if small[axis] != large[axis]), len(small))
    return math.prod(small[first:]) == 1
