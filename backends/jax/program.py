"""A program built for hardware that is not present, and what it needs and costs.

All figures are of one device, also in a program for several. What compilers leave out, with jax 0.10.2 and libtpu
0.0.52:

- Bodies of loops are counted once in FLOPs, bytes and time; where there are loops, FLOPs come from the jaxpr.
- ``optimal_seconds`` of a TPU is a sum in which an operation without an estimate counts as -1 s. A sum below half of
  what memory bandwidth and peak compute allow is left out.
- The compiler for GPUs gives no costs; those of the program before optimization stand in.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from hal.backends.jax.counts import Work, count
from hal.backends.jax.targets import TargetSpec
from hal.contract.program import Program, ProgramCost, ProgramMemory

__all__ = ["Built"]


@dataclass(frozen=True)
class Built(Program):
    """A program that was built, or for some targets lowered alone.

    Attributes:
        target: what for.
        precision: what it computes in.
        memory: of one device; None where the program was lowered alone.
        seconds: that tracing, lowering and compiling took.
    """

    target: TargetSpec
    precision: str
    memory: ProgramMemory | None
    seconds: float
    _traced: Any = field(repr=False, compare=False)
    _unoptimized: Callable[[], Any] = field(repr=False, compare=False)
    _lowered: Any = field(repr=False, compare=False)
    _compiled: Any = field(repr=False, compare=False)

    @property
    def usable_bytes(self) -> int | None:
        """What a program may use of one device; None: no figure is kept."""
        return self.target.usable_bytes

    @functools.cached_property
    def cost(self) -> ProgramCost:
        """FLOPs, bytes and an estimate of time, of one device."""
        return _cost(self)

    def stablehlo(self) -> str:
        """The program as JAX lowered it."""
        return str(self._lowered.as_text())

    def hlo(self) -> str | None:
        """The program as the compiler left it; None where it was lowered alone."""
        return None if self._compiled is None else str(self._compiled.as_text())

    def report(self) -> dict[str, Any]:
        """Everything but the texts, ready for JSON."""
        return {
            "target": self.target.name,
            "platform": self.target.platform,
            "product": self.target.product,
            "devices": self.target.devices,
            "memory_bytes": self.target.memory_bytes,
            "usable_bytes": self.target.usable_bytes,
            "compiled": self._compiled is not None,
            "compile_s": self.seconds,
            "fits": self.fits,
            "memory": None if self.memory is None else {**asdict(self.memory), "total": self.memory.total},
            "cost": asdict(self.cost),
        }

    def artifacts(self) -> dict[str, str]:
        """What is worth keeping, by file name: the texts, and the figures as JSON."""
        hlo = self.hlo()
        return {
            "program.stablehlo": self.stablehlo(),
            **({} if hlo is None else {"program.hlo": hlo}),
            "program.json": json.dumps({"schema": 1, **self.report()}, indent=2) + "\n",
        }


def _cost(built: Built) -> ProgramCost:
    target = built.target
    work = count(built._traced.jaxpr.jaxpr)
    said = built._compiled.cost_analysis() if built._compiled is not None else None
    seconds = said.get("optimal_seconds") if said else None
    counted = "the compiler"
    flops, moved = _figures(said, 1)
    if flops is None:
        flops, moved = _figures(built._unoptimized().cost_analysis(), target.devices)
        counted = "the program before optimization, where fusion saves bytes"
    if work.loops:
        flops, moved, counted = _looped(work, flops, moved, target.devices)
    lower_s = _roofline(target, max(target.flops.values(), default=None), flops, moved)
    if seconds and lower_s and not work.loops and seconds >= lower_s / 2:
        return ProgramCost(flops, moved, seconds, "compiler's estimate (optimal_seconds)", counted)
    peak = target.peak(built.precision)
    estimate = _roofline(target, peak[1] if peak else None, flops, moved)
    if peak is None or target.bandwidth is None or estimate is None:
        return ProgramCost(
            flops, moved, None, f"no estimate, because hal has no performance figures for {target.product}", counted
        )
    source = f"roofline of {peak[1] / 1e12:g} TFLOP/s ({peak[0]}) and {target.bandwidth / 1e9:g} GB/s"
    return ProgramCost(flops, moved, estimate, source, counted)


def _looped(work: Work, flops: float | None, moved: float | None, devices: int) -> tuple[float, float, str]:
    once = "" if work.bounded else ", loops without a fixed length once"
    return (
        max(flops or 0.0, work.flops / devices),
        max(moved or 0.0, work.bytes / devices),
        f"matrix products and convolutions of the jaxpr with its loops{once}",
    )


def _figures(said: Any, devices: int) -> tuple[float | None, float | None]:
    if not said or "flops" not in said:
        return None, None
    return said["flops"] / devices, said.get("bytes accessed", 0.0) / devices


def _roofline(target: TargetSpec, peak: float | None, flops: float | None, moved: float | None) -> float | None:
    """The least time (s) at peak compute or peak bandwidth, whichever is longer (Williams et al. 2009)."""
    if peak is None or target.bandwidth is None or flops is None or moved is None:
        return None
    return max(flops / peak, moved / target.bandwidth)
