"""Which nodes of a graph are written to memory, and which are computed within the kernel that reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.kernel import Facts
from hal.backends.opencl.codegen.views import base_of
from hal.backends.opencl.grouping import Group, find_groups, read_by, rows_of_reduction
from hal.backends.opencl.siblings import Siblings, find_siblings
from hal.errors import UnsupportedError

__all__ = ["Partition", "partition"]

_KERNELS = ("reduce", "contract", "concat", "scatter", "cumulate", "order", "recur")
_REPEATING = ("expand", "windows", "unwindows", "gather")
_LONGEST = 40
"""So many elementwise functions are computed in one kernel at most."""
_CHEAP = 3
"""So few functions are computed again in so few kernels, rather than written to memory and read."""


@dataclass
class Partition:
    """How a graph is cut into kernels.

    Attributes:
        nodes: all nodes that something is computed from, each after what its kernel reads.
        written: ids of the nodes that are written to memory.
        followed: for a node that is written by the kernel of a reduction or contraction, which it follows from
            element by element, that one.
        groups: for a node that one kernel computes together with others, all of them.
    """

    nodes: list[OpenclArray]
    written: set[int] = field(default_factory=set)
    followed: dict[int, OpenclArray] = field(default_factory=dict)
    groups: dict[int, Group | Siblings] = field(default_factory=dict)

    def in_memory(self, node: OpenclArray) -> bool:
        """Whether a node has memory of its own."""
        return node.storage is not None or node.op == "input" or id(node) in self.written

    def stored(self, node: OpenclArray) -> OpenclArray | None:
        """The node whose memory holds a node's values in their order, if there is one."""
        while not self.in_memory(node):
            if node.op not in ("reshape", "detach", "custom"):
                return None
            node = node.sources[0]
        return node

    def before(self, node: OpenclArray) -> Sequence[OpenclArray]:
        """What has to be computed before a node: of those that one kernel writes, before the first, what it reads."""
        group = self.groups.get(id(node))
        if group is None or id(node) not in self.written:
            return read_by(node)
        return group.inputs if node is group.outputs[0] else group.outputs[:1]


def sorted_nodes(
    roots: Sequence[OpenclArray],
    *,
    traced: bool,
    before: Callable[[OpenclArray], Sequence[OpenclArray]] = read_by,
) -> list[OpenclArray]:
    """All nodes that have to be computed and what they are computed from, which ``before`` tells, that first."""
    found: list[OpenclArray] = []
    seen: set[int] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, done = stack.pop()
        if done:
            found.append(node)
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op == "input" and not traced:
            raise UnsupportedError(
                f"a value of {node!r} was asked for while a function was being compiled, when there are no values yet",
                fix="use where() instead of a condition on values, or compile=eager",
            )
        if node.op == "donated":
            raise UnsupportedError(
                f"{node!r} was donated to a compiled function, whose results have taken over its memory",
                fix="use the results of the function, or compile it without donate=",
            )
        stack.append((node, True))
        if node.storage is None:
            stack.extend((source, False) for source in reversed(before(node)))
    return found


def partition(roots: Sequence[OpenclArray], facts: Facts, *, fuse: bool, traced: bool) -> Partition:
    """Cut a graph.

    Args:
        roots: what is wanted in memory.
        facts: of the device.
        fuse: compute chains of elementwise functions in one kernel; else one function a kernel.
        traced: inputs stand for arrays that are given later.
    """
    cut = Partition(sorted_nodes(roots, traced=traced))
    users: dict[int, list[OpenclArray]] = {}
    for node in cut.nodes:
        if node.storage is None:
            for source in read_by(node):
                users.setdefault(id(source), []).append(node)
    wanted = {id(node) for node in roots}
    open_nodes = [node for node in cut.nodes if node.storage is None and node.op != "input"]
    for node in open_nodes:
        _require(node, cut)
        alone = node.op in _KERNELS or (node.op == "map" and not fuse)
        if alone or (id(node) in wanted and cut.stored(node) is None):
            cut.written.add(id(node))
    if fuse:
        _write_shared(open_nodes, cut, users)
    _write_long(open_nodes, cut, facts.most_parameters)
    if fuse:
        # Kernels of products and of columns come first: a group would have to read what they compute.
        in_rows = [node for node in cut.nodes if rows_of_reduction(node, facts)]
        _follow([node for node in cut.nodes if not rows_of_reduction(node, facts)], cut, users, wanted)
        cut.groups.update(find_groups(cut, facts, [x for root in roots if (x := cut.stored(root)) is not None]))
        _follow([node for node in in_rows if id(node) not in cut.groups], cut, users, wanted)
        _sort_groups(roots, cut, traced=traced)
        cut.groups.update(find_siblings(cut, facts))
        _sort_groups(roots, cut, traced=traced)
    return cut


def _sort_groups(roots: Sequence[OpenclArray], cut: Partition, *, traced: bool) -> None:
    """Put what a group reads before all that it writes."""
    if not cut.groups:
        return
    found = sorted_nodes(roots, traced=traced, before=cut.before)
    seen = {id(node) for node in found}
    cut.nodes = [*found, *(node for node in cut.nodes if id(node) not in seen)]


def _write_shared(nodes: Sequence[OpenclArray], cut: Partition, users: Mapping[int, list[OpenclArray]]) -> None:
    """Write what several kernels would compute, unless that is next to nothing."""
    cost = _costs(nodes, cut)
    kernels: dict[int, set[int]] = {}
    for node in reversed(nodes):
        found: set[int] = set()
        for user in users.get(id(node), ()):
            found |= {id(user)} if id(user) in cut.written else kernels.get(id(user), set())
        kernels[id(node)] = found
        cheap = cost[id(node)] <= _CHEAP and len(found) <= _CHEAP
        if len(found) > 1 and node.op == "map" and node.size > 1 and not cheap:
            cut.written.add(id(node))


def _write_long(nodes: Sequence[OpenclArray], cut: Partition, most_arrays: int) -> None:
    """Write what would make a kernel too long, or have it read too many arrays."""
    cost: dict[int, int] = {}
    arrays: dict[int, frozenset[int]] = {}
    for node in nodes:
        inlined = sum(cost.get(id(source), 0) for source in read_by(node) if not cut.in_memory(source))
        cost[id(node)] = inlined + (node.op == "map")
        read = (
            frozenset({id(source)}) if cut.in_memory(source) else arrays.get(id(source), frozenset())
            for source in read_by(node)
        )
        arrays[id(node)] = frozenset[int]().union(*read)
        long = cost[id(node)] > _LONGEST or len(arrays[id(node)]) > most_arrays
        if node.op == "map" and long and node.size > 1:
            cut.written.add(id(node))


def _costs(nodes: Sequence[OpenclArray], cut: Partition) -> dict[int, int]:
    """How many elementwise functions each node takes, down to what is in memory."""
    cost: dict[int, int] = {}
    for node in nodes:
        inlined = sum(cost.get(id(source), 0) for source in read_by(node) if not cut.in_memory(source))
        cost[id(node)] = inlined + (node.op == "map") + (_CHEAP if node.op == "gather" else 0)
    return cost


def _require(node: OpenclArray, cut: Partition) -> None:
    """Have in memory what the kernel of a node cannot compute on its way, or would compute again and again."""
    if node.op == "contract":
        for source in node.sources:
            _write(base_of(source, cut.in_memory), cut)
    if node.op == "order":
        _write(node.sources[0], cut)
    if node.op in ("scatter", "recur"):
        _write(node.sources[1], cut)
    if node.op in _REPEATING:
        for source in node.sources:
            if node.size > source.size > 1:
                _write_core(source, cut)


def _write(node: OpenclArray, cut: Partition) -> None:
    if not cut.in_memory(node):
        cut.written.add(id(node))


def _write_core(node: OpenclArray, cut: Partition) -> None:
    """Write what is computed below movements, which cost nothing to repeat."""
    while not cut.in_memory(node) and node.op not in ("map", *_KERNELS):
        if node.op in ("constant", "iota") or node.size <= 1:
            return
        if node.op == "gather":
            break
        node = node.sources[0]
    if not cut.in_memory(node) and node.size > 1 and node.op == "map":
        cut.written.add(id(node))


def _follow(
    nodes: Sequence[OpenclArray], cut: Partition, users: dict[int, list[OpenclArray]], wanted: set[int]
) -> None:
    """Let kernels of reductions and contractions compute what follows from their results alone, element by element."""
    for node in nodes:
        if node.op not in ("reduce", "contract") or id(node) in wanted or node.storage is not None:
            continue
        at: OpenclArray | None = node
        while at is not None and (at is node or not cut.in_memory(at)):
            if at is not node and (id(at) in wanted or id(at) in cut.groups):
                at = None  # its memory is the first kernel's, which therefore stays
                break
            following = users.get(id(at), ())
            at = following[0] if len(following) == 1 and _follows(following[0], at, node) else None
        taken = at is None or id(at) in cut.followed or id(at) in cut.groups
        if at is not None and at.op == "map" and not taken and at.runtime is node.runtime:
            cut.followed[id(at)] = node
            cut.written.discard(id(node))


def _follows(user: OpenclArray, at: OpenclArray, node: OpenclArray) -> bool:
    if user.op == "map":
        return user.shape == at.shape and sum(source is at for source in user.sources) == 1
    return user.op in ("detach", "custom") or (node.op == "reduce" and user.op == "reshape")
