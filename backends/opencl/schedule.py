"""From a graph to launches: kernels in their order, and the memory that each reads and writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import Choices, chosen
from hal.backends.opencl.codegen.elementwise import map_kernel
from hal.backends.opencl.codegen.kernel import Facts, Kernel
from hal.backends.opencl.codegen.local_tiles import local_tile_kernel
from hal.backends.opencl.codegen.others import cumulate_kernel, merge_kernel, scatter_kernel
from hal.backends.opencl.codegen.product import product_of
from hal.backends.opencl.codegen.recurrent import recurrent_kernel
from hal.backends.opencl.codegen.reduction import reduce_kernel
from hal.backends.opencl.codegen.register_tiles import register_tile_kernel
from hal.backends.opencl.codegen.rows import rows_kernel
from hal.backends.opencl.fusion import Partition, partition
from hal.backends.opencl.grouping import Group
from hal.backends.opencl.launches import Launch, Place, Schedule, merged, take_over
from hal.backends.opencl.siblings import Siblings

__all__ = ["Pick", "schedule"]

_LARGEST_INDEX = 2**31 - 1


class Pick(Protocol):
    """Picks the kernel of a product."""

    def __call__(
        self, make: Callable[[Choices], Kernel], choices: Choices, result: OpenclArray, *, wide: bool
    ) -> Kernel:
        """The kernel, given what makes one of choices, the choices that hold now, and what it computes."""
        ...


def _as_chosen(make: Callable[[Choices], Kernel], choices: Choices, result: OpenclArray, *, wide: bool) -> Kernel:
    return make(choices)


def schedule(
    roots: Sequence[OpenclArray],
    facts: Facts,
    *,
    fuse: bool,
    traced: bool = False,
    keep: bool = False,
    donated: Collection[int] = (),
    pick: Pick | None = None,
) -> Schedule:
    """Plan the computation of some nodes, by the kernels that :func:`~hal.backends.opencl.codegen.choices.chosen` says.

    Args:
        roots: what is wanted.
        facts: of the device.
        fuse: see :func:`~hal.backends.opencl.fusion.partition`.
        traced: likewise.
        keep: whether all that is written stays, since it may be read later; otherwise the memory of what is not
            wanted is used again.
        donated: positions of inputs whose memory may be written to.
        pick: picks the kernel of each product; None: the one that the choices say.
    """
    cut = partition(roots, facts, fuse=fuse, traced=traced)
    return _Scheduler(cut, facts, pick or _as_chosen, traced=traced).run(roots, keep=keep, donated=donated)


class _Scheduler:
    def __init__(self, cut: Partition, facts: Facts, pick: Pick, *, traced: bool) -> None:
        self.cut = cut
        self.facts = facts
        self.pick = pick
        self.traced = traced
        self.places: dict[int, Place] = {}
        self.launches: list[Launch] = []
        self.alive: list[OpenclArray] = []  # arrays that only this schedule knows; their ids must stay their own
        self.wide = any(node.size > _LARGEST_INDEX for node in cut.nodes)

    def run(self, roots: Sequence[OpenclArray], *, keep: bool, donated: Collection[int]) -> Schedule:
        written = [node for node in self.cut.nodes if id(node) in self.cut.written and node.storage is None]
        for node in written:
            if node.size:
                self._compute(node)
        wanted = {id(root) for root in roots}
        nodes = (*roots, *(node for node in written if keep and id(node) not in wanted))
        outputs = []
        for node in nodes:
            held = self.cut.stored(node)
            assert held is not None, f"{node} was not computed"
            place = self._place(held)
            place.kept = True
            outputs.append(place)
        launches = merged(self.launches, self.facts.most_parameters)
        for number, launch in enumerate(launches):
            for place in launch.places:
                place.dies = number
        taken = take_over(launches, frozenset(outputs), donated)
        return Schedule(tuple(launches), nodes, tuple(outputs), self.wide, taken)

    def _place(self, node: OpenclArray) -> Place:
        if id(node) not in self.places:
            position = node.attributes if node.op == "input" else None
            self.places[id(node)] = Place(node.nbytes, node.size, node.storage, position)
            if node.storage is not None and self.traced:
                node.storage.shared = True  # with a program that will run again
        return self.places[id(node)]

    def _add(self, kernel: Kernel, out: Place) -> None:
        places = (out, *(self._place(node) for node in kernel.buffers))
        self.launches.append(Launch(kernel, places, alike=tuple((0, 1 + position) for position in kernel.alike)))

    def _compute(self, node: OpenclArray) -> None:
        stored, facts, wide = self.cut.stored, self.facts, self.wide
        group = self.cut.groups.get(id(node))
        if group is not None:
            if node is group.outputs[0]:  # one launch writes all, when the turn of the first one comes
                self._compute_together(group)
            return
        first = self.cut.followed.get(id(node), node)
        out = self._place(node)
        if first.op == "reduce":
            self._add(reduce_kernel([(first, node)], stored, facts, wide=wide), out)
        elif first.op == "contract":
            product = product_of(first, self.cut.in_memory)
            template = register_tile_kernel if facts.cpu else local_tile_kernel

            def make(choices: Choices) -> Kernel:
                return template(product, node, stored, facts, choices, wide=wide)

            self._add(self.pick(make, chosen(facts), node, wide=wide), out)
        elif first.op == "concat":
            at = [0] * node.ndim
            for source in node.sources:
                self._add(map_kernel(source, stored, facts, wide=wide, into=(node, at), compute=False), out)
                at[node.attributes] += source.shape[node.attributes]
        elif first.op == "scatter":
            self._add(map_kernel(node.sources[0], stored, facts, wide=wide, compute=False), out)
            if node.sources[2].size:
                self._add(scatter_kernel(node, stored, facts, wide=wide), out)
        elif first.op == "recur":
            self._add(recurrent_kernel(node, stored, facts, wide=wide), out)
        elif first.op == "cumulate":
            self._add(cumulate_kernel(node, stored, facts, wide=wide), out)
        elif first.op == "order":
            self._sort(node, out)
        else:
            self._add(map_kernel(node, stored, facts, wide=wide), out)

    def _compute_together(self, group: Group | Siblings) -> None:
        stored, facts, wide = self.cut.stored, self.facts, self.wide
        if isinstance(group, Siblings):
            kernel = reduce_kernel(group.pairs, stored, facts, wide=wide)
        else:
            kernel = rows_kernel(group.rows, group.length, group.members, group.outputs, stored, facts, wide=wide)
        places = tuple(self._place(each) for each in (*group.outputs, *kernel.buffers))
        self.launches.append(Launch(kernel, places, tuple(range(len(group.outputs)))))

    def _sort(self, node: OpenclArray, out: Place) -> None:
        """Merges runs until one is left; the positions alternate between two places, and end in the node's own."""
        passes = max(math.ceil(math.log2(node.shape[-1])), 1) if node.shape[-1] > 1 else 1
        before: OpenclArray | None = None
        for number in range(passes):
            last = number == passes - 1
            kernel = merge_kernel(node, before, 1 << number, self.cut.stored, self.facts, wide=self.wide)
            made = node if last else OpenclArray("leaf", (), None, node.shape, node.dtype, node.runtime)
            self._add(kernel, out if last else self._place(made))
            self.alive.append(made)
            before = made
