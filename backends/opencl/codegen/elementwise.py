"""Kernels of elementwise chains and movements, which write one array, or a part of one."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.emitter import Emitter, added, linear
from hal.backends.opencl.codegen.expressions import store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, loops, row_loop, rows_of, signature, spread

__all__ = ["map_kernel"]

_INNER = 512


def map_kernel(
    node: OpenclArray,
    stored: Stored,
    facts: Facts,
    *,
    wide: bool,
    into: tuple[OpenclArray, Sequence[int]] | None = None,
    compute: bool = True,
) -> Kernel:
    """A kernel that computes a node.

    Args:
        node: what to compute.
        stored: which nodes are in memory.
        facts: of the device.
        wide: whether indices need 64 bits.
        into: the array that it is written into, and where in it; None: an array of its own.
        compute: compute it even where memory holds it.
    """
    emitter = Emitter(stored, wide)
    target, offsets = into or (node, (0,) * node.ndim)
    flat = into is None and _flat(node, stored, compute)
    shape = (node.size,) if flat else node.shape
    outer, inner = _rows(shape) if facts.cpu else (shape, ())
    if flat and facts.cpu:
        return _flat_kernel(node, emitter, stored, facts, compute)
    count = math.prod(outer)
    head, tail, row = row_loop(count, facts, emitter)
    index = [*rows_of(row, outer)]
    index = [emitter.index(i) for i in index]
    names = [f"c{k}" for k in range(len(inner))]
    heads = loops(emitter, names, inner)
    if heads:
        heads[-1] = f"HAL_VECTORIZE {heads[-1]}"
    index += names
    value = emitter.value(node, index, compute=compute)
    firsts = [emitter.number(("offset", axis), offset) for axis, offset in enumerate(offsets)]
    place = row if flat else linear([added(i, a) for i, a in zip(index, firsts, strict=True)], target.shape)
    body = _nest(emitter, [head, *heads], store(target.dtype, "out", place, value))
    items, local = spread(count, facts)
    alike = _read_alike(node, stored, compute) if flat else frozenset[int]()
    return _kernel(node, target, emitter, f"{body} {tail}{'}' * len(heads)}", items, local, flat, alike)


def _nest(emitter: Emitter, heads: Sequence[str], statement: str) -> str:
    """Loops, each with the declarations that belong to it, around a statement."""
    text = " ".join(emitter.lines[0])
    for depth, head in enumerate(heads, start=1):
        text += head + " ".join(emitter.lines[depth])
    return f"{text} {statement}"


def _rows(shape: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Axes that a work-item has rows of, and axes that it loops over."""
    at, inner = len(shape), 1
    while at > 0 and inner < _INNER and (at > 1 or not inner > 1):
        at -= 1
        inner *= shape[at]
    return shape[:at], shape[at:]


def _flat_kernel(node: OpenclArray, emitter: Emitter, stored: Stored, facts: Facts, compute: bool) -> Kernel:
    """All arrays have one shape, so that it is one long loop, in pieces."""
    size, kind = node.size, emitter.index_type
    each = max(min(1024, -(-size // (4 * facts.units))), 1)
    pieces = -(-size // each)
    head, tail, row = row_loop(pieces, facts, emitter)
    emitter.loop("i")
    value = emitter.value(node, ("i",), compute=compute)
    bounds = f"{kind} z=({row}+1)*{each}<{size}?({row}+1)*{each}:{size}; HAL_VECTORIZE"
    heads = [head, f"{bounds} for ({kind} i={row}*{each}; i<z; i++) {{"]
    body = _nest(emitter, heads, store(node.dtype, "out", "i", value))
    items, local = spread(pieces, facts)
    alike = _read_alike(node, stored, compute)
    return _kernel(node, node, emitter, f"{body} }}{tail}", items, local, True, alike)


def _kernel(
    node: OpenclArray,
    target: OpenclArray,
    emitter: Emitter,
    text: str,
    items: tuple[int, ...],
    local: tuple[int, ...],
    flat: bool,
    alike: Set[int],
) -> Kernel:
    buffers = tuple(buffer for _, buffer in emitter.buffers.values())
    return Kernel(
        signature([target], emitter),
        text,
        buffers,
        items,
        local,
        node.op if node.op != "map" else f"map {node.attributes}",
        numbers=tuple(value for _, value in emitter.numbers.values()),
        flat=flat and not emitter.numbers,
        alike=tuple(i for i, buffer in enumerate(buffers) if id(buffer) in alike),
    )


def _flat(node: OpenclArray, stored: Stored, compute: bool) -> bool:
    """Whether every array that a node is computed from lies in memory as the node itself does."""
    if node.size == 1 or node.op == "constant":
        return True
    held = None if compute else stored(node)
    if held is not None:
        return True
    if node.op == "map":
        return all(_flat(source, stored, False) for source in node.sources)
    if node.op in ("detach", "custom"):
        return _flat(node.sources[0], stored, False)
    if node.op == "expand":
        return node.sources[0].size == 1
    return node.op == "iota"


def _read_alike(node: OpenclArray, stored: Stored, compute: bool) -> Set[int]:
    """Ids of the arrays in memory that a flat kernel reads at the place of the element that it computes, only."""
    alike: set[int] = set()
    elsewhere: set[int] = set()
    stack = [(node, compute, False)]
    while stack:
        each, computed, moved = stack.pop()
        held = None if computed else stored(each)
        if held is not None:
            (elsewhere if moved else alike).add(id(held))
        else:
            moved = moved or each.op not in ("map", "detach", "custom")
            stack.extend((source, False, moved) for source in each.sources)
    return alike - elsewhere
