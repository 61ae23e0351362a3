"""Finds the fastest kernel of each product by timing: what ``compile=max`` does beyond ``default``.

A product is timed alone, on memory of its own, when the function that it is part of is first called. What won is kept
beside the programs on disk, so that the next process takes it without timing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyopencl as cl

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import Choices, choices_for, offered
from hal.backends.opencl.codegen.kernel import Kernel
from hal.backends.opencl.program_cache import load_binary, program_key, save_binary
from hal.backends.opencl.runtime import Runtime
from hal.backends.opencl.storage import Storage
from hal.errors import RunError

__all__ = ["Search"]

_ROUNDS = 5
_SAMPLE_S = 0.002
_MOST_LAUNCHES = 50
_GAIN = 0.97
"""A kernel replaces the plan's own if it takes at most this share of its time: less is not told from noise."""


class Search:
    """Picks kernels for :func:`hal.backends.opencl.schedule.schedule`.

    Args:
        runtime: of the device.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def __call__(
        self, make: Callable[[Choices], Kernel], choices: Choices, result: OpenclArray, *, wide: bool
    ) -> Kernel:
        """The fastest kernel: of all tiles first, then of all work-groups with the tile that won.

        Args:
            make: makes the kernel that some choices say.
            choices: those of the plan.
            result: what the kernel computes.
            wide: whether its indices have 64 bits.
        """
        facts = self.runtime.facts
        offers = offered(facts)
        tiles: list[Any] = [choices_for(facts, {"tile": value}).tile for value in offers["tile"]]
        groups: list[Any] = [choices_for(facts, {"workgroup": value}).group for value in offers["workgroup"]]
        for name, values in (("tile", tiles), ("group", groups)):
            others = [dataclasses.replace(choices, **{name: value}) for value in values]
            choices = self._best(make, choices, others, result, wide)
        return make(choices)

    def _best(
        self,
        make: Callable[[Choices], Kernel],
        first: Choices,
        others: Sequence[Choices],
        result: OpenclArray,
        wide: bool,
    ) -> Choices:
        """The choices with the fastest kernel; the first ones unless others are clearly faster."""
        kernels: dict[str, tuple[Choices, Kernel]] = {}
        for choices in (first, *others):
            kernel = make(choices)
            kernels.setdefault(f"{kernel.name} {kernel.numbers} {kernel.items} {kernel.local}", (choices, kernel))
        if len(kernels) == 1:
            return first
        key = program_key(self.runtime.driver, "fastest of", "\n".join(kernels))
        known = load_binary(key)
        winner = known.decode(errors="replace") if known else None
        if winner not in kernels:
            times = self._times([kernel for _, kernel in kernels.values()], result, wide)
            seconds = dict(zip(kernels, times, strict=True))
            own, winner = next(iter(kernels)), min(seconds, key=lambda name: seconds[name])
            if seconds[winner] > _GAIN * seconds[own]:
                winner = own
            save_binary(key, winner.encode())
        return kernels[winner][0]

    def _times(self, kernels: Sequence[Kernel], result: OpenclArray, wide: bool) -> list[float]:
        """Seconds of a launch of each kernel: the least of some rounds in which they take turns.

        Infinity for a kernel that the driver refuses, such as one that takes more registers than there are.

        Raises:
            RunError: it refuses the first one, which is the plan's own.
        """
        runtime = self.runtime
        with runtime.lock:
            with contextlib.suppress(RunError):  # of one of them, which is found below
                runtime.kernels(kernels)
            memory = [runtime.allocate(result.nbytes), *(self._filled(node) for node in kernels[0].buffers)]
            runtime.finish()
            ready: list[tuple[Callable[[int], float], int] | None] = []
            for kernel in kernels:
                try:
                    launch = self._launcher(kernel, memory, np.int64 if wide else np.int32)
                    launch(1)  # some drivers compile at the first launch
                    ready.append((launch, min(max(int(_SAMPLE_S / launch(1)), 1), _MOST_LAUNCHES)))
                except (RunError, cl.Error):
                    if kernel is kernels[0]:
                        raise
                    ready.append(None)
            rounds = [[each[0](each[1]) if each else math.inf for each in ready] for _ in range(_ROUNDS)]
        return [min(samples) for samples in zip(*rounds, strict=True)]

    def _filled(self, node: OpenclArray) -> Storage:
        """Memory like that of an array, of ordinary numbers: processors take longer for tiny ones."""
        storage = self.runtime.allocate(node.nbytes)
        dtype = np.dtype(node.dtype.name)
        value: Any = np.ones((), dtype) if np.issubdtype(dtype, np.floating) else np.zeros((), dtype)
        if node.nbytes:
            cl.enqueue_fill_buffer(self.runtime.queue, storage.buffer, value, 0, node.nbytes)
        return storage

    def _launcher(self, made: Kernel, memory: Sequence[Storage], integer: Any) -> Callable[[int], float]:
        """What launches a kernel so many times and returns the seconds of one launch."""
        kernel = cl.Kernel(self.runtime.kernels([made])[made.name], made.name)
        for position, value in enumerate((*(each.buffer for each in memory), *map(integer, made.numbers))):
            kernel.set_arg(position, value)

        def seconds(count: int) -> float:
            start = time.perf_counter()
            for _ in range(count):
                cl.enqueue_nd_range_kernel(self.runtime.queue, kernel, made.items, made.local)
            self.runtime.finish()
            return (time.perf_counter() - start) / count

        return seconds
