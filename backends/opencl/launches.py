"""Launches of kernels and the memory that they read and write: what shares a launch, and what shares memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.kernel import Kernel, together
from hal.backends.opencl.storage import Storage

__all__ = ["Launch", "Place", "Schedule", "merged", "take_over"]


@dataclass(eq=False)
class Place:
    """Memory of one array in a schedule.

    Attributes:
        nbytes: its size.
        count: of its elements.
        storage: memory that is there already; None: it is given or made when the schedule runs.
        position: which of the inputs it is; None: none of them.
        dies: number of the launch that reads it last.
        kept: an output, which stays.
        over: the place whose memory becomes its own, in the launch that reads that place for the last time.
    """

    nbytes: int
    count: int
    storage: Storage | None = None
    position: int | None = None
    dies: int = -1
    kept: bool = False
    over: Place | None = None


@dataclass(frozen=True)
class Launch:
    """A kernel with the memory that it writes and reads.

    Attributes:
        kernel: what runs.
        places: memory in the order of the kernel's parameters.
        outputs: positions among these of what it writes.
        alike: pairs of positions, of an output and of an array that the launch reads only elementwise for it: element i
            for element i. The output may be written over such an array.
    """

    kernel: Kernel
    places: tuple[Place, ...]
    outputs: tuple[int, ...] = (0,)
    alike: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Schedule:
    """What computes some nodes.

    Attributes:
        launches: in their order.
        nodes: what is in memory afterwards: the wanted ones, and all others that were written, if those stay.
        outputs: the memory of each of them.
        wide: whether indices have 64 bits.
        taken: positions of the inputs whose memory outputs take over.
    """

    launches: tuple[Launch, ...]
    nodes: tuple[OpenclArray, ...]
    outputs: tuple[Place, ...]
    wide: bool
    taken: tuple[int, ...] = ()

    @property
    def moved_bytes(self) -> int:
        """Bytes that the launches read and write, each array once a launch."""
        return sum(place.nbytes for each in self.launches for place in each.places)


def merged(launches: Sequence[Launch], most: int) -> list[Launch]:
    """Flat kernels that only others of their kind read from, such as those of an optimizer, a level at a time.

    They come last, where they wait for nothing, and several of them share a launch of so many parameters at most.
    """
    read: dict[Place, list[int]] = {}
    for number, launch in enumerate(launches):
        # A scatter adds to what the launch before it has written.
        for place in launch.places[1:] if launch.kernel.flat else launch.places:
            read.setdefault(place, []).append(number)
    last: set[int] = set()
    for number in reversed(range(len(launches))):
        if launches[number].kernel.flat and last.issuperset(read.get(launches[number].places[0], ())):
            last.add(number)
    levels: dict[Place, int] = {}
    groups: dict[tuple[int, tuple[int, ...]], list[Launch]] = {}
    for number in sorted(last):
        launch = launches[number]
        level = max((levels.get(place, -1) for place in launch.places[1:]), default=-1) + 1
        levels[launch.places[0]] = level
        groups.setdefault((level, launch.kernel.local), []).append(launch)
    found = [launch for number, launch in enumerate(launches) if number not in last]
    for key in sorted(groups):
        group: list[Launch] = []
        for launch in groups[key]:
            if group and sum(len(each.places) for each in (*group, launch)) > most:
                found.append(_one(group))
                group = []
            group.append(launch)
        found.append(_one(group))
    return found


def _one(group: Sequence[Launch]) -> Launch:
    if len(group) == 1:
        return group[0]
    places = tuple(place for launch in group for place in launch.places)
    outputs: list[int] = []
    alike: list[tuple[int, int]] = []
    start = 0
    for launch in group:
        outputs.append(start)
        alike += [(start + written, start + read) for written, read in launch.alike]
        start += len(launch.places)
    return Launch(together([launch.kernel for launch in group]), places, tuple(outputs), tuple(alike))


def take_over(launches: Sequence[Launch], outputs: Collection[Place], donated: Collection[int]) -> tuple[int, ...]:
    """Let arrays take over the memory of what they are computed from, element by element, where nothing else needs it.

    Args:
        launches: in their order.
        outputs: what stays.
        donated: positions of inputs that nobody needs afterwards.

    Returns:
        Positions of the inputs that are written to.
    """
    last: dict[Place, int] = {}
    first: dict[Place, int] = {}
    for number, launch in enumerate(launches):
        for place in launch.places:
            first.setdefault(place, number)
            last[place] = number
    taken: set[Place] = set()
    for number, launch in enumerate(launches):
        for written, read in launch.alike:
            new, old = launch.places[written], launch.places[read]
            fresh = new.storage is None and new.position is None and new.over is None and first[new] == number
            done = last[old] == number and launch.places.count(old) == 1 and old not in taken and old not in outputs
            given = old.position in donated if old.position is not None else old.storage is None
            if fresh and done and given and (new.nbytes, new.count) == (old.nbytes, old.count):
                new.over = old
                taken.add(old)
    return tuple(sorted(place.position for place in taken if place.position is not None))
