"""What generating a kernel gives, and the loops that all of them share."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.emitter import Emitter, split
from hal.backends.opencl.codegen.expressions import storage_type

__all__ = [
    "Facts",
    "Kernel",
    "Stored",
    "loops",
    "output_name",
    "row_loop",
    "rows_of",
    "signature",
    "spread",
    "together",
]

Stored = Callable[[OpenclArray], OpenclArray | None]

_FEWEST_ITEMS = 64
_ITEMS_OF_A_UNIT = 4
_LOCAL_SIZE = 128
_SHARE_OF_A_CACHE = 8
_BYTES_OF_A_ROW = 64 * 4
_PRODUCTS, _FEWEST_PRODUCTS, _MOST_PRODUCTS = 256, 64, 1024
_LONGEST_ROW = 1 << 14


@dataclass(frozen=True)
class Facts:
    """What generated code depends on.

    Attributes:
        cpu: the device is a processor: work-items get long loops over neighboring elements, which its compiler turns
            into vector instructions. Other devices get one element each.
        units: compute units.
        local_size: the largest work-group.
        local_bytes: local memory of a work-group; 0: not known. PoCL gives the size of a core's cache of the second
            level here.
        vector: floats of a processor's vector register, 8 or 16.
    """

    cpu: bool
    units: int
    local_size: int
    local_bytes: int = 0
    vector: int = 8

    @property
    def most_parameters(self) -> int:
        """So many arrays a kernel is given at most.

        OpenCL promises room for 1,024 bytes of parameters, which are 128 addresses. AMD's cards hold addresses in pairs
        of about 100 scalar registers, and take others for what goes beyond.
        """
        return 100 if self.cpu else 32

    @property
    def products_of_a_part(self) -> int:
        """So many products a processor adds up for each result before it goes on to the next rows of an operand.

        These rows are to stay in a core's cache while many tiles read them: 64 columns of them take an eighth of it.
        That is 256 products, or 64 KiB (16 KiB for the 16 columns of a tile), if the cache has 512 KiB, or is unknown.
        """
        fitting = self.local_bytes // (_SHARE_OF_A_CACHE * _BYTES_OF_A_ROW)
        return min(max(fitting, _FEWEST_PRODUCTS), _MOST_PRODUCTS) if fitting else _PRODUCTS

    @property
    def longest_row(self) -> int:
        """Rows of at most so many elements are read in several passes of one kernel.

        A row is to stay in a core's cache from pass to pass: on a processor it takes an eighth of it, which is 16,384
        elements (64 KiB) of 512 KiB, or where the cache is unknown. Of cards, local memory tells nothing about caches.
        """
        fitting = self.local_bytes // (_SHARE_OF_A_CACHE * 4)
        return fitting if self.cpu and fitting else _LONGEST_ROW


@dataclass(frozen=True)
class Kernel:
    """A kernel and how it is launched.

    Attributes:
        parameters: in OpenCL C, the output's first.
        body: statements in OpenCL C.
        buffers: the arrays that it reads, in the order of its parameters, which follow the output's.
        numbers: values of the parameters that follow these.
        items: global size.
        local: size of a work-group.
        label: what it computes, for people.
        flops: operations of its products.
        flat: whether it is one loop over elements, which may share a launch with others.
        alike: positions of the buffers that are read elementwise only: element i for element i of the output.
    """

    parameters: tuple[str, ...]
    body: str
    buffers: tuple[OpenclArray, ...]
    items: tuple[int, ...]
    local: tuple[int, ...]
    label: str
    numbers: tuple[int, ...] = ()
    flops: int = 0
    flat: bool = False
    alike: tuple[int, ...] = ()
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "hal_" + hashlib.sha256(self.text.encode()).hexdigest()[:20])

    @property
    def text(self) -> str:
        """Everything behind the name."""
        return f"({', '.join(self.parameters)}) {{ {self.body} }}"

    @property
    def source(self) -> str:
        """The whole kernel."""
        return f"__kernel void {self.name}{self.text}"


def output_name(number: int) -> str:
    """The parameter of one of the outputs."""
    return f"o{number}" if number else "out"


def signature(outputs: Sequence[OpenclArray], emitter: Emitter) -> tuple[str, ...]:
    """Parameters: the outputs, then what the kernel reads, then numbers."""
    writes = (f"__global {storage_type(node.dtype)} *{output_name(number)}" for number, node in enumerate(outputs))
    numbers = (f"const {emitter.index_type} {name}" for name, _ in emitter.numbers.values())
    reads = (f"__global const {storage_type(node.dtype)} *{name}" for name, node in emitter.buffers.values())
    return (*writes, *reads, *numbers)


def together(kernels: Sequence[Kernel]) -> Kernel:
    """One kernel that does what several flat ones do, each in work-items of its own."""
    parameters: list[str] = []
    branches, start = [], 0
    for number, kernel in enumerate(kernels):
        rename = functools.partial(re.sub, r"\b(out|b\d+)\b", rf"\1_{number}")
        parameters += map(rename, kernel.parameters)
        body = rename(kernel.body).replace("get_global_id(0)", f"(get_global_id(0)-{start})")
        end = start + kernel.items[0]
        branches.append(f"if (get_global_id(0)<{end}) {{ {body} }}")
        start = end
    buffers = tuple(buffer for kernel in kernels for buffer in kernel.buffers)
    label = f"{len(kernels)} times {kernels[-1].label}"
    return Kernel(tuple(parameters), " else ".join(branches), buffers, (start,), kernels[0].local, label)


def spread(count: int, facts: Facts) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Global and local size for so many rows (of a processor) or elements."""
    if facts.cpu:
        return (_items_of_a_processor(count, facts),), (1,)
    local = min(_LOCAL_SIZE, facts.local_size)
    return (-(-count // local) * local,), (local,)


def _items_of_a_processor(count: int, facts: Facts) -> int:
    """How many work-items share so many rows: some for each unit, so that one that is late delays the others little."""
    return min(count, max(_FEWEST_ITEMS, _ITEMS_OF_A_UNIT * facts.units))


def row_loop(count: int, facts: Facts, emitter: Emitter) -> tuple[str, str, str]:
    """The loop over the rows of a work-item: its head, what closes it, and the variable.

    A processor's work-items take several rows each; others one.
    """
    kind = emitter.index_type
    variable = emitter.loop("r")
    if not facts.cpu:
        return f"{kind} r=get_global_id(0); if (r>={count}) return; {{", "}", variable
    items = _items_of_a_processor(count, facts)
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
