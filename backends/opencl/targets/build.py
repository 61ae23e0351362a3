"""Compiles functions for cards that are not here: traced, scheduled and compiled as on a card, and never launched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import optree

from hal.backends._traced.dtypes import as_dtype
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import choosing, keys_of
from hal.backends.opencl.codegen.program import program_source
from hal.backends.opencl.launches import Schedule
from hal.backends.opencl.schedule import schedule
from hal.backends.opencl.targets.cards import Card, TargetRuntime, card_of, target_runtime
from hal.backends.opencl.targets.clang import compile_source
from hal.backends.opencl.targets.program import CardProgram
from hal.backends.opencl.tracing import donated_arrays, trace
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.contract.program import ArrayShape, DoesNotFitError

__all__ = ["build_for", "planned_for", "source_for"]

_GIB = 2**30


def planned_for(
    fn: Callable[..., Any], arguments: Sequence[Any], device: Device, *, donate: Sequence[int] = ()
) -> tuple[Schedule, list[OpenclArray]]:
    """The launches of a function on a target, and its arguments.

    Args:
        fn: a function of trees of arrays.
        arguments: trees whose leaves are :class:`~hal.contract.program.ArrayShape`, or values.
        device: of the target.
        donate: positions of arguments whose memory results may take over.
    """
    runtime = target_runtime(device)
    given, structure = optree.tree_flatten(cast("Any", tuple(arguments)))
    leaves = [_stand_in(leaf, runtime) for leaf in given]
    found = trace(fn, leaves, structure)
    inputs = [leaf for leaf in leaves if isinstance(leaf, OpenclArray)]
    donated = donated_arrays(arguments, leaves, donate)
    return schedule(found.outputs, runtime.facts, fuse=True, traced=True, donated=donated), inputs


def source_for(planned: Schedule, card: Card) -> str:
    """OpenCL C of all kernels of a schedule, each once."""
    kernels = {launch.kernel.name: launch.kernel.source for launch in planned.launches}
    return program_source(list(kernels.values()), card.facts)


def build_for(
    fn: Callable[..., Any], arguments: Sequence[Any], device: Device, plan: Plan, *, donate: Sequence[int] = ()
) -> CardProgram:
    """Compile a function for a target; see :meth:`hal.contract.BuildsTargets.build`."""
    began = time.monotonic()
    card = card_of(device.kind)
    with choosing(keys_of(plan)):
        planned, inputs = planned_for(fn, arguments, device, donate=donate)
    source = source_for(planned, card)
    assembly = compile_source(source, card)
    program = CardProgram(card, planned, inputs, source, assembly, time.monotonic() - began)
    if program.fits is False:
        needed, usable = program.memory.total, program.usable_bytes or 0
        raise DoesNotFitError(
            f"the program needs {needed / _GIB:.2f} GiB; {card.product.name} has {usable / _GIB:.2f} GiB",
            needed,
            usable,
            program,
        )
    return program


def _stand_in(leaf: Any, runtime: TargetRuntime) -> Any:
    """What is traced with instead of an argument; a number is one that may change from call to call."""
    if isinstance(leaf, ArrayShape):
        return OpenclArray("leaf", (), None, leaf.shape, as_dtype(np.dtype(leaf.dtype)), runtime)
    if isinstance(leaf, float):
        return OpenclArray("leaf", (), None, (), as_dtype(np.dtype(np.float32)), runtime)
    return leaf
