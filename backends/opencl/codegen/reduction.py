"""Kernels of reductions. What is reduced is computed in the loop itself, and so is what follows element by element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hal.backends._traced.dtypes import DType
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.emitter import Emitter, linear, split
from hal.backends.opencl.codegen.expressions import compute_type, literal, store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, output_name, row_loop, rows_of, signature, spread

__all__ = ["LANES", "combined", "filled", "form_of_reduction", "neutral", "reduce_kernel"]

LANES = 16
_COLUMNS = 128


@dataclass(frozen=True)
class _Member:
    """One of the reductions of a kernel, and the names of its variables.

    Attributes:
        node: the reduction.
        out: what is written: itself, or what follows from it element by element.
        number: among those of the kernel.
    """

    node: OpenclArray
    out: OpenclArray
    number: int

    @property
    def kind(self) -> str:
        return str(self.node.attributes[0])

    @property
    def positional(self) -> bool:
        """Whether it gives the position of a value."""
        return self.kind.startswith("arg")

    @property
    def start(self) -> str:
        return neutral(self.kind.removeprefix("arg"), self.node.sources[0].dtype)

    @property
    def c_type(self) -> str:
        return compute_type(self.node.sources[0].dtype)

    @property
    def s(self) -> str:
        return f"s{self.number}"

    @property
    def at(self) -> str:
        return f"at{self.number}"

    def step(self, names: Mapping[int, str], value: str, suffix: str = "") -> str:
        """Statements that take a value in; of a positional one also where it is."""
        if not self.positional:
            return combined(self.kind, self.s + suffix, value)
        x, axes = self.node.sources[0], self.node.attributes[1]
        return _found(self.kind, names, x, axes, value, self.s + suffix, self.at + suffix, "seen")


def reduce_kernel(
    pairs: Sequence[tuple[OpenclArray, OpenclArray]], stored: Stored, facts: Facts, *, wide: bool
) -> Kernel:
    """A kernel that reduces.

    Args:
        pairs: a reduction, and what is written: itself, or what follows from it element by element. Several reduce the
            same axes of arrays of one shape, in the same :func:`form_of_reduction`.
        stored: which nodes are in memory.
        facts: of the device.
        wide: whether indices need 64 bits.
    """
    members = [_Member(node, out, number) for number, (node, out) in enumerate(pairs)]
    form = {"columns": _columns, "lanes": _lanes, "serial": _serial}[form_of_reduction(pairs[0][0], facts)]
    return form(members, stored, facts, wide)


def form_of_reduction(node: OpenclArray, facts: Facts) -> Literal["columns", "lanes", "serial"]:
    """How a kernel reduces: neighboring columns at once, a row in lanes, or one value after the other."""
    kind, axes = node.attributes
    x = node.sources[0]
    last = x.ndim - 1
    if facts.cpu and last not in axes and x.shape[last] > 1:
        return "columns"
    if facts.cpu and last in axes and x.shape[last] >= 2 * LANES and not kind.startswith("arg"):
        return "lanes"
    return "serial"


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
    """Statements that take a value in where it is better than the best, or the first member, or the first NaN."""
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


def _finished(members: Sequence[_Member], emitter: Emitter, text: str, count: int, facts: Facts) -> Kernel:
    items, local = spread(count, facts)
    label = f"{', '.join(member.kind for member in members)} over {len(members[0].node.attributes[1])} axes"
    followed = [f", {member.out.attributes}" for member in members if member.out is not member.node]
    return Kernel(
        signature([member.out for member in members], emitter),
        filled(text, emitter),
        tuple(buffer for _, buffer in emitter.buffers.values()),
        items,
        local,
        label + "".join(followed),
        tuple(value for _, value in emitter.numbers.values()),
    )


def _written(member: _Member, emitter: Emitter, value: str, place: str) -> str:
    """Statements that write the result, or what follows from it, to a position."""
    node, out, target = member.node, member.out, output_name(member.number)
    if out is node:
        return store(out.dtype, target, place, value)
    emitter.given[id(node)] = value
    position = emitter.bound(f"const {emitter.index_type}", place)
    index = [emitter.index(i) for i in split(position, out.shape)]
    return store(out.dtype, target, position, emitter.value(out, index, compute=True))


def _serial(members: Sequence[_Member], stored: Stored, facts: Facts, wide: bool) -> Kernel:
    """One result a row: a loop over all that is reduced."""
    axes, x = members[0].node.attributes[1], members[0].node.sources[0]
    emitter = Emitter(stored, wide)
    kept = _kept(x, axes)
    shape = [x.shape[axis] for axis in kept]
    head, tail, row = row_loop(math.prod(shape), facts, emitter)
    index = dict(zip(kept, (emitter.index(i) for i in rows_of(row, shape)), strict=True))
    names, heads = _reduced(x, axes, emitter, 0)
    place = [{**index, **names}[axis] for axis in range(x.ndim)]
    begin = "".join(f"{member.c_type} {member.s}={member.start}; " for member in members)
    step = " ".join(member.step(names, emitter.value(member.node.sources[0], place)) for member in members)
    if any(member.positional for member in members):
        begin += f"int seen=0{''.join(f', {member.at}=0' for member in members if member.positional)};"
        step += " seen=1;"
    inner = "".join(heads) + step + "}" * len(heads)
    emitter.loop("after")  # what follows is declared behind the loop
    depth = emitter.depths["after"]
    emitter.depths.update((name, depth) for member in members for name in (member.s, member.at))
    written = " ".join(
        _written(member, emitter, member.at if member.positional else member.s, row) for member in members
    )
    text = f"@0@ {head} @1@ {begin} {inner} @{depth}@ {written} {tail}"
    return _finished(members, emitter, text, math.prod(shape), facts)


def _lanes(members: Sequence[_Member], stored: Stored, facts: Facts, wide: bool) -> Kernel:
    """The last axis in lanes, which a processor's compiler turns into vectors."""
    axes, x = members[0].node.attributes[1], members[0].node.sources[0]
    emitter = Emitter(stored, wide)
    kept = _kept(x, axes)
    shape, length = [x.shape[axis] for axis in kept], x.shape[-1]
    head, tail, row = row_loop(math.prod(shape), facts, emitter)
    index = dict(zip(kept, (emitter.index(i) for i in rows_of(row, shape)), strict=True))
    names, heads = _reduced(x, axes, emitter, 1)
    whole = length // LANES * LANES

    def steps(at: str, suffix: str) -> str:
        place = [{**index, **names, x.ndim - 1: at}[axis] for axis in range(x.ndim)]
        return " ".join(member.step(names, emitter.value(member.node.sources[0], place), suffix) for member in members)

    block, lane = emitter.loop("k"), emitter.loop("l")
    first = steps(f"{block}+{lane}", "[l]")
    main = (
        f"for (int k=0; k<{whole}; k+={LANES}) {{@{emitter.depths['k']}@ "
        f"for (int l=0; l<{LANES}; l++) {{@{emitter.depths['l']}@ {first} }} }}"
    )
    if whole < length:
        rest = emitter.loop("t")
        main += f" for (int t={whole}; t<{length}; t++) {{@{emitter.depths['t']}@ {steps(rest, '[0]')} }}"
    emitter.loop("after")
    depth = emitter.depths["after"]
    emitter.depths.update((member.s, depth) for member in members)
    written = " ".join(_written(member, emitter, f"{member.s}[0]", row) for member in members)
    sums = "".join(f"{member.c_type} {member.s}[{LANES}]; " for member in members)
    sums += f"for (int l=0; l<{LANES}; l++) {{ {''.join(f'{member.s}[l]={member.start}; ' for member in members)}}}"
    folds = (
        f"const {o.c_type} w{o.number}={o.s}[l]; {combined(o.kind, f'{o.s}[0]', f'w{o.number}')} " for o in members
    )
    text = (
        f"@0@ {head} @1@ {sums} {''.join(heads)} {main} {'}' * len(heads)} "
        f"for (int l=1; l<{LANES}; l++) {{ {''.join(folds)}}} @{depth}@ {written} {tail}"
    )
    return _finished(members, emitter, text, math.prod(shape), facts)


def _columns(members: Sequence[_Member], stored: Stored, facts: Facts, wide: bool) -> Kernel:
    """The last axis is kept: a work-item reduces a block of neighboring columns at once."""
    axes, x = members[0].node.attributes[1], members[0].node.sources[0]
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
    emitter.loop("l")
    column = f"{start}+l" if start != "0" else "l"
    place = [{**index, **names, x.ndim - 1: column}[axis] for axis in range(x.ndim)]
    begin = "".join(f"{member.c_type} {member.s}[{block}]; " for member in members)
    begin += f"for (int l=0; l<{block}; l++) {{ {''.join(f'{member.s}[l]={member.start}; ' for member in members)}}}"
    step = " ".join(member.step(names, emitter.value(member.node.sources[0], place), "[l]") for member in members)
    after = ""
    if positional := [member.at for member in members if member.positional]:
        begin += f" int seen=0{''.join(f', {at}[{block}]' for at in positional)};"
        begin += f" for (int l=0; l<{block}; l++) {{ {''.join(f'{at}[l]=0; ' for at in positional)}}}"
        after = " seen=1;"
    loop = f"for (int l=0; l<{columns}; l++) {{@{emitter.depths['l']}@ {step} }}{after}"
    emitter.loop("q")
    emitter.depths.update((name, emitter.depths["q"]) for member in members for name in (member.s, member.at))
    column = f"{start}+q" if start != "0" else "q"
    target = linear([outer, column], [math.prod(shape), width])
    results = ((member, f"{member.at if member.positional else member.s}[q]") for member in members)
    written = " ".join(_written(member, emitter, result, target) for member, result in results)
    text = (
        f"@0@ {head} @1@ {begin} "
        f"{''.join(heads)} {loop} {'}' * len(heads)} "
        f"for (int q=0; q<{columns}; q++) {{@{emitter.depths['q']}@ {written} }} {tail}"
    )
    return _finished(members, emitter, text, count, facts)
