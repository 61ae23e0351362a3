"""Kernels of rows: several reductions of the same rows, one after the other, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.emitter import Emitter, joined
from hal.backends.opencl.codegen.expressions import compute_type, store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, output_name, row_loop, signature, spread
from hal.backends.opencl.codegen.reduction import LANES, combined, filled, neutral

__all__ = ["rows_kernel"]


def rows_kernel(
    rows: int,
    length: int,
    members: Sequence[OpenclArray],
    outputs: Sequence[OpenclArray],
    stored: Stored,
    facts: Facts,
    *,
    wide: bool,
) -> Kernel:
    """A kernel whose work-items compute whole rows.

    Args:
        rows: how many there are.
        length: elements of each.
        members: what is computed, in order: reductions, and what follows from them, as many elements as rows, or all.
        outputs: those of them that are written.
        stored: which nodes are in memory.
        facts: of the device.
        wide: whether indices need 64 bits.
    """
    own = {id(member) for member in members}

    def before(node: OpenclArray) -> OpenclArray | None:
        """What is in memory before this kernel runs."""
        held = stored(node)
        return None if held is None or id(held) in own else held

    emitter = Emitter(before, wide)
    head, tail, row = row_loop(rows, facts, emitter)
    written = _Rows(emitter, rows, length, row)
    reductions = [member for member in members if member.op == "reduce"]
    passes = [written.reduced(node, number, facts) for number, node in enumerate(reductions)]
    last = written.last([node for node in outputs if node.size != rows], outputs)
    results = written.results([node for node in outputs if node.size == rows], outputs)
    text = f"@0@ {head} @1@ {' '.join(passes)} {last} {results} {tail}"
    items, local = spread(rows, facts)
    kinds = ", ".join(node.attributes[0] for node in reductions)
    return Kernel(
        signature(outputs, emitter),
        filled(text, emitter),
        tuple(buffer for _, buffer in emitter.buffers.values()),
        items,
        local,
        f"{kinds} of rows of {length}",
        tuple(value for _, value in emitter.numbers.values()),
    )


class _Rows:
    """The statements within the loop over rows, where ``row`` is the variable."""

    def __init__(self, emitter: Emitter, rows: int, length: int, row: str) -> None:
        self.emitter = emitter
        self.rows = rows
        self.length = length
        self.row = row

    def reduced(self, node: OpenclArray, number: int, facts: Facts) -> str:
        """A pass over the row; the result has a variable from then on."""
        kind, x = node.attributes[0], node.sources[0]
        c_type, s, result = compute_type(x.dtype), f"s{number}", f"y{number}"
        if facts.cpu and self.length >= 2 * LANES:
            text = self._lanes(kind, x, number)
            s = f"{s}[0]"
        else:
            at = self.emitter.loop(f"t{number}")
            step = combined(kind, s, self._value(x, at))
            text = f"{c_type} {s}={neutral(kind, x.dtype)}; {self._loop(at, 0, step)}"
        self.emitter.given[id(node)] = self.emitter.loop(result)
        return f"{text} const {c_type} {result}={s}; @{self.emitter.depths[result]}@"

    def _lanes(self, kind: str, x: OpenclArray, number: int) -> str:
        """A pass in lanes, which a processor's compiler turns into vectors."""
        emitter, s, c_type = self.emitter, f"s{number}", compute_type(x.dtype)
        whole = self.length // LANES * LANES
        block, lane = emitter.loop(f"k{number}"), emitter.loop(f"l{number}")
        step = combined(kind, f"{s}[{lane}]", self._value(x, f"{block}+{lane}"))
        text = (
            f"{c_type} {s}[{LANES}]; for (int l=0; l<{LANES}; l++) {s}[l]={neutral(kind, x.dtype)}; "
            f"for (int {block}=0; {block}<{whole}; {block}+={LANES}) {{@{emitter.depths[block]}@ "
            f"for (int {lane}=0; {lane}<{LANES}; {lane}++) {{@{emitter.depths[lane]}@ {step} }} }} "
        )
        if whole < self.length:
            at = emitter.loop(f"t{number}")
            text += self._loop(at, whole, combined(kind, f"{s}[0]", self._value(x, at)))
        fold = combined(kind, f"{s}[0]", "w")
        return f"{text} for (int l=1; l<{LANES}; l++) {{ const {c_type} w={s}[l]; {fold} }}"

    def last(self, nodes: Sequence[OpenclArray], outputs: Sequence[OpenclArray]) -> str:
        """A pass that writes each element of some outputs."""
        if not nodes:
            return ""
        at = self.emitter.loop("c")
        stores = (self._stored(node, at, outputs) for node in nodes)
        return f"HAL_VECTORIZE {self._loop(at, 0, ' '.join(stores))}"

    def results(self, nodes: Sequence[OpenclArray], outputs: Sequence[OpenclArray]) -> str:
        """Statements that write one value of the row to some outputs."""
        return " ".join(self._stored(node, None, outputs) for node in nodes)

    def _stored(self, node: OpenclArray, at: str | None, outputs: Sequence[OpenclArray]) -> str:
        place = self.row if at is None else f"({self.row})*{self.length}+{at}"
        name = output_name(next(number for number, output in enumerate(outputs) if output is node))
        return store(node.dtype, name, place, self._value(node, at, compute=node.op != "reduce"))

    def _loop(self, at: str, start: int, statements: str) -> str:
        mark = f"@{self.emitter.depths[at]}@"
        return f"for (int {at}={start}; {at}<{self.length}; {at}++) {{{mark} {statements} }}"

    def _value(self, node: OpenclArray, at: str | None, *, compute: bool = False) -> str:
        """A node's value in this row, at a place in it if it has one for each element."""
        place, shape = ([self.row], [self.rows]) if at is None else ([self.row, at], [self.rows, self.length])
        index = [self.emitter.index(i) for i in joined(place, shape, node.shape)]
        return self.emitter.value(node, index, compute=compute)
