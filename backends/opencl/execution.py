"""Runs schedules: finds memory, sets arguments, launches; and computes arrays whose values are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyopencl as cl

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.launches import Place, Schedule
from hal.backends.opencl.runtime import Runtime
from hal.backends.opencl.schedule import schedule
from hal.backends.opencl.storage import Storage
from hal.errors import UnsupportedError

__all__ = ["Program", "fetch", "realize"]


class Program:
    """A schedule whose kernels are built, ready to run any number of times.

    Args:
        planned: the schedule.
        runtime: of its device.
    """

    def __init__(self, planned: Schedule, runtime: Runtime) -> None:
        self.outputs = planned.outputs
        self.launches = planned.launches
        self.taken = planned.taken
        self._overwrites = next(
            (number for number, launch in enumerate(planned.launches) if any(map(_given, launch.places))), None
        )
        self.runtime = runtime
        programs = runtime.kernels(launch.kernel for launch in planned.launches)
        with runtime.lock:
            self._kernels = [cl.Kernel(programs[each.kernel.name], each.kernel.name) for each in planned.launches]
        self._steps = [
            (kernel, each.kernel.items, each.kernel.local, each.places)
            for kernel, each in zip(self._kernels, planned.launches, strict=True)
        ]
        for kernel, each in zip(self._kernels, planned.launches, strict=True):
            for position, number in enumerate(each.kernel.numbers, start=len(each.places)):
                kernel.set_arg(position, np.int64(number) if planned.wide else np.int32(number))
        self._bound: list[list[Any]] = [[None] * len(each.places) for each in planned.launches]
        with runtime.lock:
            runtime.programs.add(self)

    def unbind(self) -> None:
        """Let go of all memory that the kernels were given; the next run gives them theirs again."""
        for bound in self._bound:
            bound[:] = [None] * len(bound)

    def run(self, inputs: Sequence[Storage], give_up: Callable[[], None] = lambda: None) -> list[Storage]:
        """Launch everything.

        Args:
            inputs: memory of the arrays that the inputs stand for; :attr:`taken` are positions of what is written to.
            give_up: called before the first launch that writes to an input.

        Returns:
            Memory of the outputs.
        """
        held: dict[Place, Storage] = {}
        with self.runtime.lock:
            queue, allocate = self.runtime.queue, self.runtime.allocate
            for number, (kernel, items, local, places) in enumerate(self._steps):
                bound = self._bound[number]
                if number == self._overwrites:
                    give_up()
                for position, place in enumerate(places):
                    storage = place.storage
                    if storage is None:
                        if place.position is not None:
                            storage = inputs[place.position]
                        elif place in held:
                            storage = held[place]
                        elif place.over is not None:
                            over = place.over
                            storage = held[place] = held[over] if over.position is None else inputs[over.position]
                        else:
                            storage = held[place] = allocate(place.nbytes)
                    if bound[position] is not storage.buffer:
                        kernel.set_arg(position, storage.buffer)
                        bound[position] = storage.buffer
                cl.enqueue_nd_range_kernel(queue, kernel, items, local)
                for place in places:
                    if place.dies == number and not place.kept:
                        held.pop(place, None)
            return [self._output(place, held, inputs) for place in self.outputs]

    def _output(self, place: Place, held: dict[Place, Storage], inputs: Sequence[Storage]) -> Storage:
        if place.storage is not None:
            return place.storage
        if place.position is not None:
            return inputs[place.position]
        if place not in held:  # an array without elements
            held[place] = self.runtime.allocate(place.nbytes)
        return held[place]


def _given(place: Place) -> bool:
    """Whether it takes over the memory of an input."""
    return place.over is not None and place.over.position is not None


def realize(arrays: Sequence[OpenclArray], *, fuse: bool = True) -> None:
    """Compute arrays that are not in memory yet.

    Args:
        arrays: what is wanted.
        fuse: compute chains of elementwise functions in one kernel, and keep all that is written on the way, so that
            a loop that asks for one value in each turn does not compute earlier turns again; else one function a
            kernel, and nothing is kept.
    """
    by_runtime: dict[int, list[OpenclArray]] = {}
    for array in arrays:
        if array.storage is None:
            by_runtime.setdefault(id(array.runtime), []).append(array)
    for wanted in by_runtime.values():
        runtime = wanted[0].runtime
        if not isinstance(runtime, Runtime):
            raise UnsupportedError(
                f"a value was asked for while compiling for {runtime.device.name}, which computes nothing here",
                fix="use where() instead of a condition on values",
            )
        with runtime.lock:
            missing = [array for array in wanted if array.storage is None]
            planned = schedule(missing, runtime.facts, fuse=fuse, keep=fuse)
            storages = Program(planned, runtime).run(())
            for array, storage in zip(planned.nodes, storages, strict=True):
                array.settle(storage)


def fetch(array: OpenclArray) -> np.ndarray:
    """Wait for an array and copy it to the host."""
    realize([array])
    assert array.storage is not None
    assert isinstance(array.runtime, Runtime)
    return array.runtime.download(array.storage, array.shape, np.dtype(array.dtype.name))
