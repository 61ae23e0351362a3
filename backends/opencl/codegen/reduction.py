"""Kernels of reductions. What is reduced is computed in the loop itself, and so is what follows element by element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hal.backends._traced.dtypes import DType
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.emitter import Emitter, linear, split
from hal.backends.opencl.codegen.expressions import compute_type, literal, store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, row_loop, rows_of, signature, spread

__all__ = ["LANES", "combined", "filled", "neutral", "reduce_kernel"]

LANES = 16
_COLUMNS = 128


def reduce_kernel(node: OpenclArray, out: OpenclArray, stored: Stored, facts: Facts, *, wide: bool) -> Kernel:
    """A kernel that reduces, and writes ``out``, which follows from the reduction element by element."""
    kind, axes = node.attributes
    x = node.sources[0]
    last = x.ndim - 1
    if facts.cpu and last not in axes and x.shape[last] > 1:
        return _columns(node, out, stored, facts, wide)
    if kind.startswith("arg"):
        return _serial(node, out, stored, facts, wide)
    if facts.cpu and last in axes and x.shape[last] >= 2 * LANES:
        return _lanes(node, out, stored, facts, wide)
    return _serial(node, out, stored, facts, wide)


def neutral(kind: str, dtype: DType) -> str:
    """The value that a reduction begins with."""
    if kind in ("max", "min"):
        if dtype.kind == "f":
            return literal(-math.inf if kind == "max" else math.inf, dtype)
        if dtype.kind == "b":
            return "0" if kind == "max" else "1"
        bits = 8 * dtype.itemsize
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
        return literal(low if kind == "max" else high, dtype)
    return literal(1 if kind in ("prod", "all") else 0, dtype)


def combined(kind: str, sum_: str, value: str) -> str:
    """The statement that takes a value in. NaN is the largest and the smallest value."""
    if kind in ("max", "min"):
        sign = ">" if kind == "max" else "<"
        return f"{sum_}=({value}{sign}{sum_}||{value}!={value})?{value}:{sum_};"
    sign = {"sum": "+", "prod": "*", "any": "|", "all": "&"}[kind]
    return f"{sum_}={sum_}{sign}{value};"


def _found(
    kind: str,
    names: Mapping[int, str],
    x: OpenclArray,
    axes: Sequence[int],
    value: str,
    best: str,
    at: str,
    seen: str,
) -> str:
    """Statements that take a value in where it is better than the best, or the first one, or the first NaN."""
    place = linear([names[axis] for axis in axes], [x.shape[axis] for axis in axes])
    sign = ">" if kind == "argmax" else "<"
    better = f"(!{seen}||{value}{sign}{best}||({value}!={value}&&{best}=={best}))"
    return f"{{ const int w={better}; {at}=w?{place}:{at}; {best}=w?{value}:{best}; }}"


def _reduced(x: OpenclArray, axes: Sequence[int], emitter: Emitter, upto: int) -> tuple[dict[int, str], list[str]]:
    """Loops over the reduced axes, but for the last ``upto`` of them: variables and heads."""
    names, heads = {}, []
    for axis in axes[: len(axes) - upto]:
        if x.shape[axis] == 1:
            names[axis] = "0"
            continue
        names[axis] = emitter.loop(f"a{axis}")
        bounds = f"{emitter.index_type} a{axis}=0; a{axis}<{x.shape[axis]}; a{axis}++"
        heads.append(f"for ({bounds}) {{@{emitter.depths[names[axis]]}@")
    return names, heads


def filled(text: str, emitter: Emitter) -> str:
    """The text of a kernel with the declarations of each loop at its mark."""
    for depth, lines in enumerate(emitter.lines):
        text = text.replace(f"@{depth}@", " ".join(lines))
    return text


def _kept(x: OpenclArray, axes: Sequence[int]) -> list[int]:
    return [axis for axis in range(x.ndim) if axis not in axes]


def _finished(node: OpenclArray, out: OpenclArray, emitter: Emitter, text: str, count: int, facts: Facts) -> Kernel:
    items, local = spread(count, facts)
    label = f"{node.attributes[0]} over {len(node.attributes[1])} axes"
    return Kernel(
        signature(out, emitter),
        filled(text, emitter),
        tuple(buffer for _, buffer in emitter.buffers.values()),
        items,
        local,
        label if out is node else f"{label}, {out.attributes}",
        tuple(value for _, value in emitter.numbers.values()),
    )


def _written(node: OpenclArray, out: OpenclArray, emitter: Emitter, value: str, place: str) -> str:
    """Statements that write the result, or what follows from it, to a position."""
    if out is node:
        return store(out.dtype, "out", place, value)
    emitter.given[id(node)] = value
    position = emitter.bound(f"const {emitter.index_type}", place)
    index = [emitter.index(i) for i in split(position, out.shape)]
    return store(out.dtype, "out", position, emitter.value(out, index, compute=True))


def _serial(node: OpenclArray, out: OpenclArray, stored: Stored, facts: Facts, wide: bool) -> Kernel:
    """One result a row: a loop over all that is reduced."""
    kind, axes = node.attributes
    x = node.sources[0]
    emitter = Emitter(stored, wide)
    kept = _kept(x, axes)
    shape = [x.shape[axis] for axis in kept]
    head, tail, row = row_loop(math.prod(shape), facts, emitter)
    index = dict(zip(kept, (emitter.index(i) for i in rows_of(row, shape)), strict=True))
    names, heads = _reduced(x, axes, emitter, 0)
    value = emitter.value(x, [{**index, **names}[axis] for axis in range(x.ndim)])
    c_type = compute_type(x.dtype)
    emitter.depths["s"] = emitter.depths["at"] = emitter.depths[row]
    if kind.startswith("arg"):
        begin = f"{c_type} s={neutral(kind[3:], x.dtype)}; int at=0, seen=0;"
        step = _found(kind, names, x, axes, value, "s", "at", "seen") + " seen=1;"
    else:
        begin, step = f"{c_type} s={neutral(kind, x.dtype)};", combined(kind, "s", value)
    inner = "".join(heads) + step + "}" * len(heads)
    emitter.loop("after")  # what follows is declared behind the loop
    depth = emitter.depths["after"]
    emitter.depths["s"] = emitter.depths["at"] = depth
    written = _written(node, out, emitter, "at" if kind.startswith("arg") else "s", row)
    text = f"@0@ {head} @1@ {begin} {inner} @{depth}@ {written} {tail}"
    return _finished(node, out, emitter, text, math.prod(shape), facts)


def _lanes(node: OpenclArray, out: OpenclArray, stored: Stored, facts: Facts, wide: bool) -> Kernel:
    """The last axis in lanes, which a processor's compiler turns into vectors."""
    kind, axes = node.attributes
    x = node.sources[0]
    emitter = Emitter(stored, wide)
    kept = _kept(x, axes)
    shape, length = [x.shape[axis] for axis in kept], x.shape[-1]
    head, tail, row = row_loop(math.prod(shape), facts, emitter)
    index = dict(zip(kept, (emitter.index(i) for i in rows_of(row, shape)), strict=True))
    names, heads = _reduced(x, axes, emitter, 1)
    c_type, start = compute_type(x.dtype), neutral(kind, x.dtype)
    whole = length // LANES * LANES

    def value(at: str) -> str:
        return emitter.value(x, [{**index, **names, x.ndim - 1: at}[axis] for axis in range(x.ndim)])

    block, lane = emitter.loop("k"), emitter.loop("l")
    first = value(f"{block}+{lane}")
    main = (
        f"for (int k=0; k<{whole}; k+={LANES}) {{@{emitter.depths['k']}@ "
        f"for (int l=0; l<{LANES}; l++) {{@{emitter.depths['l']}@ {combined(kind, 's[l]', first)} }} }}"
    )
    if whole < length:
        rest = emitter.loop("t")
        main += (
            f" for (int t={whole}; t<{length}; t++) {{@{emitter.depths['t']}@ {combined(kind, 's[0]', value(rest))} }}"
        )
    emitter.loop("after")
    depth = emitter.depths["after"]
    emitter.depths["s"] = depth
    written = _written(node, out, emitter, "s[0]", row)
    fold = f"for (int l=1; l<{LANES}; l++) {{ const {c_type} w=s[l]; {combined(kind, 's[0]', 'w')} }}"
    text = (
        f"@0@ {head} @1@ {c_type} s[{LANES}]; for (int l=0; l<{LANES}; l++) s[l]={start}; "
        f"{''.join(heads)} {main} {'}' * len(heads)} {fold} @{depth}@ {written} {tail}"
    )
    return _finished(node, out, emitter, text, math.prod(shape), facts)


def _columns(node: OpenclArray, out: OpenclArray, stored: Stored, facts: Facts, wide: bool) -> Kernel:
    """The last axis is kept: a work-item reduces a block of neighboring columns at once."""
    kind, axes = node.attributes
    x = node.sources[0]
    emitter = Emitter(stored, wide)
    kept, width = _kept(x, axes)[:-1], x.shape[-1]
    shape = [x.shape[axis] for axis in kept]
    block = next((n for n in range(min(width, _COLUMNS), 7, -1) if width % n == 0), min(width, _COLUMNS))
    blocks = -(-width // block)
    count = math.prod(shape) * blocks
    head, tail, row = row_loop(count, facts, emitter)
    outer = f"({row})/{blocks}" if blocks > 1 else row
    index = dict(zip(kept, (emitter.index(i) for i in rows_of(outer, shape)), strict=True))
    start = emitter.bound("const int", f"({row}%{blocks})*{block}") if blocks > 1 else "0"
    columns = str(block) if width % block == 0 else f"({block}<{width}-{start}?{block}:{width}-{start})"
    names, heads = _reduced(x, axes, emitter, 0)
    c_type = compute_type(x.dtype)
    emitter.loop("l")
    column = f"{start}+l" if start != "0" else "l"
    value = emitter.value(x, [{**index, **names, x.ndim - 1: column}[axis] for axis in range(x.ndim)])
    begin = f"{c_type} s[{block}]; for (int l=0; l<{block}; l++) s[l]={neutral(kind.removeprefix('arg'), x.dtype)};"
    if kind.startswith("arg"):
        begin += f" int at[{block}], seen=0; for (int l=0; l<{block}; l++) at[l]=0;"
        step, after, result = _found(kind, names, x, axes, value, "s[l]", "at[l]", "seen"), " seen=1;", "at[q]"
    else:
        step, after, result = combined(kind, "s[l]", value), "", "s[q]"
    loop = f"for (int l=0; l<{columns}; l++) {{@{emitter.depths['l']}@ {step} }}{after}"
    emitter.loop("q")
    emitter.depths["s"] = emitter.depths["at"] = emitter.depths["q"]
    column = f"{start}+q" if start != "0" else "q"
    place = linear([outer, column], [math.prod(shape), width])
    written = _written(node, out, emitter, result, place)
    text = (
        f"@0@ {head} @1@ {begin} "
        f"{''.join(heads)} {loop} {'}' * len(heads)} "
        f"for (int q=0; q<{columns}; q++) {{@{emitter.depths['q']}@ {written} }} {tail}"
    )
    return _finished(node, out, emitter, text, count, facts)
