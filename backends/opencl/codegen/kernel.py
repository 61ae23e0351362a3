"""What generating a kernel gives, and the loops that all of them share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.emitter import Emitter, split
from hal.backends.opencl.codegen.expressions import storage_type

__all__ = ["Facts", "Kernel", "Stored", "loops", "row_loop", "rows_of", "signature", "spread"]

Stored = Callable[[OpenclArray], OpenclArray | None]

_ITEMS_OF_A_PROCESSOR = 64
_LOCAL_SIZE = 128


@dataclass(frozen=True)
class Facts:
    """What generated code depends on.

    Attributes:
        cpu: the device is a processor: work-items get long loops over neighboring elements, which its compiler turns
            into vector instructions. Other devices get one element each.
        units: compute units.
        local_size: the largest work-group.
    """

    cpu: bool
    units: int
    local_size: int


@dataclass(frozen=True)
class Kernel:
    """A kernel and how it is launched.

    Attributes:
        body: parameters and body in OpenCL C.
        buffers: the arrays that it reads, in the order of its parameters, which follow the output's.
        items: global size.
        local: size of a work-group.
        label: what it computes, for people.
        flops: operations of its products.
    """

    body: str
    buffers: tuple[OpenclArray, ...]
    items: tuple[int, ...]
    local: tuple[int, ...]
    label: str
    flops: int = 0
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "hal_" + hashlib.sha256(self.body.encode()).hexdigest()[:20])

    @property
    def source(self) -> str:
        """The whole kernel."""
        return f"__kernel void {self.name}{self.body}"


def signature(output: OpenclArray, emitter: Emitter, *extra: str) -> str:
    """Parameters: the output, then what the kernel reads."""
    parameters = [f"__global {storage_type(output.dtype)} *out", *extra]
    parameters += [f"__global const {storage_type(node.dtype)} *{name}" for name, node in emitter.buffers.values()]
    return f"({', '.join(parameters)})"


def spread(count: int, facts: Facts) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Global and local size for so many rows (of a processor) or elements."""
    if facts.cpu:
        return (min(count, _ITEMS_OF_A_PROCESSOR),), (1,)
    local = min(_LOCAL_SIZE, facts.local_size)
    return (-(-count // local) * local,), (local,)


def row_loop(count: int, facts: Facts, emitter: Emitter) -> tuple[str, str, str]:
    """The loop over the rows of a work-item: its head, what closes it, and the variable.

    A processor's work-items take several rows each; others one.
    """
    kind = emitter.index_type
    variable = emitter.loop("r")
    if not facts.cpu:
        return f"{kind} r=get_global_id(0); if (r>={count}) return; {{", "}", variable
    items = min(count, _ITEMS_OF_A_PROCESSOR)
    each = -(-count // items)
    head = f"{kind} g=get_global_id(0), e=(g+1)*{each}<{count}?(g+1)*{each}:{count};"
    return f"{head} for ({kind} r=g*{each}; r<e; r++) {{", "}", variable


def loops(emitter: Emitter, names: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Heads of nested loops. Each enters the emitter when its turn comes."""
    heads = []
    for name, size in zip(names, sizes, strict=True):
        emitter.loop(name)
        heads.append(f"for ({emitter.index_type} {name}=0; {name}<{size}; {name}++) {{")
    return heads


def rows_of(index: str, shape: Sequence[int]) -> list[str]:
    """The index of a row among rows of a shape."""
    return split(index, shape) if math.prod(shape) > 1 else ["0"] * len(shape)
