"""A program for a card that is not here: its memory, what it costs, and what its kernels use of the card."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.launches import Place, Schedule
from hal.backends.opencl.storage import rounded_bytes
from hal.backends.opencl.targets.cards import Card
from hal.backends.opencl.targets.resources import kernels_of, waves_of_a_simd
from hal.contract.program import KernelUse, Program, ProgramCost, ProgramMemory

__all__ = ["CardProgram"]


class CardProgram(Program):
    """A program that was compiled for a card.

    Args:
        card: what for.
        planned: its launches.
        inputs: arrays that it is called with.
        source: in OpenCL C.
        assembly: for the card; empty where its driver compiles.
        seconds: see :class:`~hal.contract.program.Program`.
    """

    memory: ProgramMemory

    def __init__(
        self,
        card: Card,
        planned: Schedule,
        inputs: Sequence[OpenclArray],
        source: str,
        assembly: str,
        seconds: float,
    ) -> None:
        self.card = card
        self.planned = planned
        self.source = source
        self.assembly = assembly
        self.seconds = seconds
        self.memory = _memory(planned, inputs)

    @property
    def usable_bytes(self) -> int | None:
        """All memory of the card; drivers keep some of it, and how much is not known."""
        memory = self.card.product.memory_bytes
        return None if memory is None else int(memory)

    @functools.cached_property
    def cost(self) -> ProgramCost:
        """Operations of products, bytes that kernels read and write, and the least time that these take."""
        flops = float(sum(launch.kernel.flops for launch in self.planned.launches))
        moved = float(self.planned.moved_bytes)
        counted = "hal's kernels: the operations of products, and each array once in each kernel"
        rate, bandwidth = self.card.product.own_rate("fp32"), self.card.product.bandwidth
        if rate is None or bandwidth is None:
            source = f"no estimate, because hal has no performance figures for {self.card.product.name}"
            return ProgramCost(flops, moved, None, source, counted)
        source = (
            f"roofline of {rate / 1e12:g} TFLOP/s (fp32) and {bandwidth / 1e9:g} GB/s, kernel by kernel; "
            "hal's kernels have not run on this card"
        )
        times = (
            max(launch.kernel.flops / rate, sum(place.nbytes for place in launch.places) / bandwidth)
            for launch in self.planned.launches
        )
        return ProgramCost(flops, moved, sum(times), source, counted)

    @functools.cached_property
    def kernels(self) -> tuple[KernelUse, ...]:
        """Each kernel, the one that holds the fewest waves first; empty where the card's driver compiles."""
        facts = kernels_of(self.assembly)
        launches = Counter(launch.kernel.name for launch in self.planned.launches)
        found = []
        for kernel in {launch.kernel.name: launch.kernel for launch in self.planned.launches}.values():
            if kernel.name not in facts:
                continue
            used, group = facts[kernel.name], math.prod(kernel.local)
            waves, most = waves_of_a_simd(self.card.arch, used, group)
            found.append(
                KernelUse(
                    name=kernel.name,
                    label=kernel.label,
                    launches=launches[kernel.name],
                    registers={"VGPR": used.vgprs, "SGPR": used.sgprs},
                    spilled_registers=used.vgpr_spills + used.sgpr_spills,
                    local_bytes=used.local_bytes,
                    scratch_bytes=used.scratch_bytes,
                    group=group,
                    waves=waves,
                    most_waves=most,
                )
            )
        return tuple(sorted(found, key=lambda each: (each.waves, each.label, each.name)))

    def artifacts(self) -> dict[str, str]:
        """The kernels' source and assembly, and what they use."""
        kernels = [asdict(kernel) for kernel in self.kernels]
        report = {"schema": 1, "target": self.card.name, "kernels": kernels}
        found = {"program.cl": self.source, "kernels.json": json.dumps(report, indent=2) + "\n"}
        return {**found, "program.s": self.assembly} if self.assembly else found


def _memory(planned: Schedule, inputs: Sequence[OpenclArray]) -> ProgramMemory:
    """What a run takes, as the runtime gives memory out: by sizes, each piece to the next array of its size."""
    free: Counter[int] = Counter()
    held: set[Place] = set()
    made = now = peak = constants = 0
    outside = {place for launch in planned.launches for place in launch.places} | set(planned.outputs)
    constants = sum(rounded_bytes(place.nbytes) for place in outside if place.storage is not None)
    followed = {place.over for place in outside}
    for number, launch in enumerate(planned.launches):
        for place in launch.places:
            if place.storage is not None or place.position is not None or place.over is not None or place in held:
                continue
            held.add(place)
            size = rounded_bytes(place.nbytes)
            now += size
            if free[size]:
                free[size] -= 1
            else:
                made += size
        peak = max(peak, now)
        for place in dict.fromkeys(launch.places):
            first = _first(place)
            if first in held and place.dies == number and not place.kept and place not in followed:
                held.discard(first)
                free[rounded_bytes(place.nbytes)] += 1
                now -= rounded_bytes(place.nbytes)
    made_here = {place for place in planned.outputs if place.storage is None and place.position is None}
    aliased = sum(rounded_bytes(place.nbytes) for place in made_here if _first(place).position is not None)
    outputs = sum(rounded_bytes(place.nbytes) for place in made_here)
    arguments = sum(rounded_bytes(array.nbytes) for array in inputs)
    return ProgramMemory(
        arguments=arguments,
        outputs=outputs,
        aliased=aliased,
        temporaries=max(made - (outputs - aliased), 0) + constants,
        code=0,
        peak=arguments + constants + peak,
    )


def _first(place: Place) -> Place:
    """The first one that had a place's memory."""
    while place.over is not None:
        place = place.over
    return place
