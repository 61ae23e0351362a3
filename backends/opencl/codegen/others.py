"""Kernels that are neither elementwise chains, reductions nor products: scatters, cumulative functions, sorting."""

from __future__ import annotations

import math

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.emitter import Emitter, split
from hal.backends.opencl.codegen.expressions import compute_type, load, store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, row_loop, rows_of, signature, spread

__all__ = ["cumulate_kernel", "merge_kernel", "scatter_kernel"]

_COLUMNS = 64


def scatter_kernel(node: OpenclArray, stored: Stored, facts: Facts, *, wide: bool) -> Kernel:
    """Puts or adds rows, in their order, into an array that holds what they are added to.

    A work-item has columns of its own, so that no two write to one place and the order of additions is always the same.
    """
    _, positions, rows = node.sources
    emitter = Emitter(stored, wide)
    width = math.prod(node.shape[1:])
    block = min(_COLUMNS, width) if facts.cpu else 1
    blocks = -(-width // block)
    head, tail, row = row_loop(blocks, facts, emitter)
    at = emitter.loop("p")
    place = emitter.value(positions, (at,))
    emitter.loop("c")
    value = emitter.value(rows, (at, *(emitter.index(i) for i in split("c", node.shape[1:]))))
    bounds = f"{place}<{node.shape[0]}" if positions.dtype.kind == "u" else f"{place}>=0&&{place}<{node.shape[0]}"
    kind = emitter.index_type
    target = f"({kind}){place}*{width}+c"
    written = store(node.dtype, "out", target, value)
    if node.attributes:
        total = f"{load(node.dtype, 'out', target)}+{value}"
        written = store(node.dtype, "out", target, total)
    body = (
        f"{' '.join(emitter.lines[0])} {head} {' '.join(emitter.lines[1])} "
        f"for ({kind} p=0; p<{rows.shape[0]}; p++) {{ {' '.join(emitter.lines[2])} if ({bounds}) "
        f"for ({kind} c={row}*{block}; c<({row}+1)*{block} && c<{width}; c++) "
        f"{{ {' '.join(emitter.lines[3])} {written} }} }} {tail}"
    )
    items, local = spread(blocks, facts)
    return _finished(node, emitter, body, items, local, "scatter")


def cumulate_kernel(node: OpenclArray, stored: Stored, facts: Facts, *, wide: bool) -> Kernel:
    """One row a work-item."""
    emitter = Emitter(stored, wide)
    shape, length = node.shape[:-1], node.shape[-1]
    count = math.prod(shape)
    head, tail, row = row_loop(count, facts, emitter)
    index = [emitter.index(i) for i in rows_of(row, shape)]
    value = emitter.value(node.sources[0], (*index, emitter.loop("c")))
    c_type, sign = compute_type(node.dtype), "+" if node.attributes == "sum" else "*"
    body = (
        f"{' '.join(emitter.lines[0])} {head} {' '.join(emitter.lines[1])} {c_type} s={0 if sign == '+' else 1}; "
        f"for (int c=0; c<{length}; c++) {{ {' '.join(emitter.lines[2])} s=s{sign}{value}; "
        f"{store(node.dtype, 'out', f'{row}*{length}+c', 's')} }} {tail}"
    )
    items, local = spread(count, facts)
    return _finished(node, emitter, body, items, local, "cumulate")


def merge_kernel(
    node: OpenclArray, before: OpenclArray | None, run: int, stored: Stored, facts: Facts, *, wide: bool
) -> Kernel:
    """One pass of a merge sort: each position finds its place in two sorted runs that become one.

    Args:
        node: the array of positions that sort x.
        before: positions after the last pass; None: there was none, and they stand in their order.
        run: length of the runs that are sorted already.
        stored: which nodes are in memory.
        facts: of the device.
        wide: whether indices need 64 bits.
    """
    x, length = node.sources[0], node.shape[-1]
    emitter = Emitter(stored, wide)
    held = stored(x)
    assert held is not None, "what is sorted has to be in memory"
    keys = emitter.buffer(held)
    positions = "" if before is None else emitter.buffer(before)
    head, tail, row = row_loop(node.size, facts, emitter)
    c_type = compute_type(x.dtype)

    def position(at: str) -> str:
        return f"{positions}[q+{at}]" if positions else at

    def key(at: str) -> str:
        return load(x.dtype, keys, f"q+{position(at)}")

    less = "({0}<{1}||({1}!={1}&&{0}=={0}))"
    body = (
        f"{head} const long p={row}%{length}, q={row}-p, begin=p/{2 * run}*{2 * run}; "
        f"const long half_=begin+{run}<{length}?begin+{run}:{length}; "
        f"const long end=begin+{2 * run}<{length}?begin+{2 * run}:{length}; "
        f"const int first=p<half_; long low=first?half_:begin, high=first?end:half_; const long from=low; "
        f"const {c_type} mine={key('p')}; "
        f"while (low<high) {{ const long middle=(low+high)/2; const {c_type} theirs={key('middle')}; "
        f"if (first?{less.format('theirs', 'mine')}:!{less.format('mine', 'theirs')}) low=middle+1; "
        "else high=middle; } "
        f"out[q+begin+(p-(first?begin:half_))+(low-from)]={position('p')}; {tail}"
    )
    items, local = spread(node.size, facts)
    return _finished(node, emitter, body, items, local, "sort")


def _finished(
    node: OpenclArray, emitter: Emitter, body: str, items: tuple[int, ...], local: tuple[int, ...], label: str
) -> Kernel:
    buffers = tuple(buffer for _, buffer in emitter.buffers.values())
    numbers = tuple(value for _, value in emitter.numbers.values())
    return Kernel(signature([node], emitter), body, buffers, items, local, label, numbers)
