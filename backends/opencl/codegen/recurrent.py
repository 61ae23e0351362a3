"""Recurrent layers on processors: a work-item takes some sequences of the batch through all steps, in one launch.

Sequences do not depend on each other, so nothing has to wait between the steps. The state of a work-item's sequences
stays in private memory; the recurrent weights lie in memory in the order in which the tiles read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import chosen
from hal.backends.opencl.codegen.emitter import Emitter
from hal.backends.opencl.codegen.expressions import compute_type, store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, signature
from hal.backends.opencl.codegen.product import FUSED

__all__ = ["CELLS", "Cell", "in_one_launch", "recurrent_kernel", "tiles_of"]

_TILES = {
    8: ((6, 2), (4, 3), (3, 4), (2, 6), (1, 8)),
    16: ((8, 2), (6, 2), (4, 4), (3, 4), (2, 6), (1, 8)),
}
"""Sequences, and vectors of columns, that fit into a processor's registers, by their length; the best ones first."""
_MOST_ROWS = 18
"""So many sequences a work-item takes at most: each of them adds to what is done with weights that were read once."""
_PRIVATE_FLOATS = 1 << 18
_UNITS_OF_A_SEQUENCE = 4
"""With more compute units for each sequence, a launch for all steps would leave too many of them idle. Step by step a
layer took 1.3 to 6.5 times the processor time on two cores (one sequence, 128 to 2048 units)."""


@dataclass(frozen=True)
class Cell:
    """One unit of a recurrent layer, in C.

    ``p0``, ``p1``, ... are the gates of the input and ``q0``, ``q1``, ... those of the state, ``h_`` and ``c_`` the
    states before the step.

    Attributes:
        gates: how many.
        forward: statements that compute what is kept of a step: ``s0``, ``s1``, ..., of which the last is h.
        kept: how many these are.
        c: which of them is the state c; None: there is none.
        backward: statements that compute, from the gradient ``dh`` of h and the gradient ``dc`` of c, ``d0``, ``d1``,
            ...: gradients of the gates of the state first, others then, and last what is carried to the step before.
        made: how many these are.
        carried: what is carried is added to the gradient of h, rather than being that of c.
    """

    gates: int
    forward: str
    kept: int
    backward: str
    made: int
    c: int | None = None
    carried: bool = False


CELLS: Mapping[str, Cell] = {
    "lstm": Cell(
        gates=4,
        forward="s0=sigmoid(p0+q0), s1=sigmoid(p1+q1), s2=tanh(p2+q2), s3=sigmoid(p3+q3), s4=s1*c_+s0*s2, "
        "s5=s3*tanh(s4)",
        kept=6,
        c=4,
        backward="w=tanh(s4), e=dh*s3*(1-w*w)+dc, d0=e*s2*s0*(1-s0), d1=e*c_*s1*(1-s1), d2=e*s0*(1-s2*s2), "
        "d3=dh*w*s3*(1-s3), d4=e*s1",
        made=5,
    ),
    "gru": Cell(
        gates=3,
        forward="s0=sigmoid(p0+q0), s1=sigmoid(p1+q1), s3=q2, s2=tanh(p2+s0*s3), s4=(1-s1)*s2+s1*h_",
        kept=5,
        backward="e=dh*(1-s1)*(1-s2*s2), d0=e*s3*s0*(1-s0), d1=dh*(h_-s2)*s1*(1-s1), d2=e*s0, d3=e, d4=dh*s1",
        made=5,
        carried=True,
    ),
    "tanh": Cell(gates=1, forward="s0=tanh(p0+q0)", kept=1, backward="d0=dh*(1-s0*s0)", made=1),
    "relu": Cell(gates=1, forward="s0=p0+q0<0?0:p0+q0", kept=1, backward="d0=s0<=0?0:dh", made=1),
}
"""LSTM, GRU, and the simple layer with each of its activations."""


def in_one_launch(batch: int, facts: Facts) -> bool:
    """Whether all steps of a layer are one launch, which has as many work-items as sequences at most."""
    wanted = chosen(facts).recurrence
    return wanted == "whole" or (wanted == "filled" and _UNITS_OF_A_SEQUENCE * batch >= facts.units)


def tiles_of(batch: int, units: int, facts: Facts) -> tuple[int, int, int]:
    """How many sequences a work-item takes, and of how many sequences and columns of the weights a tile is.

    Args:
        batch: sequences.
        units: of the layer.
        facts: of the device.
    """
    most = max(_PRIVATE_FLOATS // (10 * units), 1)
    wanted = max(min(-(-batch // facts.units), _MOST_ROWS, most), 1)
    high, vectors = min(_TILES[facts.vector], key=lambda tile: -(-wanted // tile[0]) * tile[0])
    return -(-wanted // high) * high, high, vectors * facts.vector


def recurrent_kernel(node: OpenclArray, stored: Stored, facts: Facts, *, wide: bool) -> Kernel:
    """A kernel for all steps of a layer, forwards or backwards.

    Forwards it writes what is kept of each step (time, batch, kept, units), all of it or some. Its sources are the
    gates of the input (time, batch, gates * units), the weights, h and c before the first step (batch, units), and what
    is added to the gates of the state (gates * units). Backwards it writes gradients (time, batch, made, units). Its
    sources are the gradients of h at each step (time, batch, units), the weights, h and c as before, all that was kept,
    and the gradient of the last c (batch, units). Weights are (panels, depth, columns of a tile).

    Args:
        node: what to compute; its attributes are the name of a cell, and what it keeps of a step: positions in what the
            cell computes, or None if it runs backwards.
        stored: which nodes are in memory.
        facts: of the device.
        wide: whether indices need 64 bits.
    """
    return _Writer(node, Emitter(stored, wide), facts).kernel()


class _Writer:
    def __init__(self, node: OpenclArray, emitter: Emitter, facts: Facts) -> None:
        name, self.kept = node.attributes
        self.node, self.cell, self.emitter = node, CELLS[name], emitter
        self.steps, self.batch, _, self.units = node.shape
        self.c_type, self.kind = compute_type(node.dtype), emitter.index_type
        panels, self.depth, self.lanes = node.sources[1].shape
        self.columns = panels * self.lanes
        self.part, self.vector = facts.products_of_a_part, facts.vector
        self.rows, self.high, _ = tiles_of(self.batch, self.units, facts)
        self.weights = emitter.buffer(node.sources[1])
        for variable in ("y", "x", "t", "r", "u"):  # the loops that values of the graph are read in
            emitter.loop(variable)

    def kernel(self) -> Kernel:
        backwards = self.kept is None
        first, step = self._backward() if backwards else self._forward(self.kept)
        kind, lines, last = self.kind, [" ".join(each) for each in self.emitter.lines], self.batch - 1
        order = f"{kind} t={self.steps - 1}; t>=0; t--" if backwards else f"{kind} t=0; t<{self.steps}; t++"
        unit = f"{kind} u=0; u<{self.units}; u++"
        sums = f"{self.c_type}{self.vector} s[{self.rows * self.columns // self.vector}]; "
        text = (
            f"const {kind} r0=get_global_id(0)*{self.rows}; {lines[0]} {self.c_type} a[{self.rows * self.depth}], "
            f"carry[{self.rows * self.units}]; {sums}"
            f"for (int i=0; i<{self.rows * self.depth}; i++) a[i]=0; "
            f"for (int i=0; i<{self.rows}; i++) {{ const {kind} y=r0+i<{last}?r0+i:{last}; {lines[1]} "
            f"for ({kind} x=0; x<{self.units}; x++) {{ {lines[2]} {first} }} }} "
            f"for ({order}) {{ {lines[3]} {{{FUSED}{self._sums()} }} "
            f"for (int i=0; i<{self.rows}; i++) {{ const {kind} r=r0+i; if (r>={self.batch}) break; {lines[4]} "
            f"HAL_VECTORIZE for ({unit}) {{ {lines[5]} {step} }} }} }}"
        )
        return Kernel(
            signature([self.node], self.emitter),
            text,
            tuple(buffer for _, buffer in self.emitter.buffers.values()),
            (-(-self.batch // self.rows),),
            (1,),
            f"{self.node.attributes[0]} {'backwards' if backwards else 'forwards'}",
            tuple(value for _, value in self.emitter.numbers.values()),
            2 * self.steps * self.batch * self.depth * self.columns,
        )

    def _value(self, source: int, *index: str) -> str:
        return self.emitter.value(self.node.sources[source], [self.emitter.index(i) for i in index])

    def _forward(self, kept: Sequence[int]) -> tuple[str, str]:
        """Statements before the first step, and for a unit in a step."""
        cell, units = self.cell, self.units
        first = f"a[i*{units}+x]={self._value(2, 'y', 'x')};"
        before = f"const {self.c_type} h_=a[i*{units}+u]"
        if cell.c is not None:
            first += f" carry[i*{units}+x]={self._value(3, 'y', 'x')};"
            before += f", c_=carry[i*{units}+u]"
        for gate in range(cell.gates):
            at = f"{gate * units}+u"
            before += f", p{gate}={self._value(0, 't', 'r', at)}"
            before += f", q{gate}=(({self.c_type} *)s)[i*{self.columns}+{at}]+{self._value(4, at)}"
        after = self._stored("s", kept) + f"a[i*{units}+u]=s{cell.kept - 1};"
        if cell.c is not None:
            after += f" carry[i*{units}+u]=s{cell.c};"
        return first, f"{before}; {self._computed(cell.forward)} {after}"

    def _backward(self) -> tuple[str, str]:
        """Statements before the last step, and for a unit in a step."""
        cell, units = self.cell, self.units
        first = f"carry[i*{units}+x]={self._value(5, 'y', 'x') if cell.c is not None else 0};"
        before = f"const {self.c_type} dh={self._value(0, 't', 'r', 'u')}+(({self.c_type} *)s)[i*{self.columns}+u]"
        before += f"+carry[i*{units}+u]" if cell.carried else f", dc=carry[i*{units}+u]"
        for kept in range(cell.kept):
            before += f", s{kept}={self._value(4, 't', 'r', str(kept), 'u')}"
        for name, which, initial in (("h_", cell.kept - 1, 2), ("c_", cell.c, 3)):
            if name in cell.backward:
                last = self._value(4, "t>0?t-1:0", "r", str(which), "u")
                before += f", {name}=t>0?{last}:{self._value(initial, 'r', 'u')}"
        after = self._stored("d", range(cell.made))
        after += " ".join(f"a[i*{self.depth}+{gate * units}+u]=d{gate};" for gate in range(cell.gates))
        if cell.made > cell.gates:
            after += f" carry[i*{units}+u]=d{cell.made - 1};"
        return first, f"{before}; {self._computed(cell.backward)} {after}"

    def _computed(self, statements: str) -> str:
        called = re.sub(r"\b(sigmoid|tanh)\(", rf"hal_\1_{self.c_type}(", statements)
        return f"const {self.c_type} {called};"

    def _stored(self, name: str, which: Sequence[int]) -> str:
        place = f"((t*{self.batch}+r)*{len(which)}+{{}})*{self.units}+u"
        return "".join(store(self.node.dtype, "out", place.format(i), f"{name}{j}") + " " for i, j in enumerate(which))

    def _sums(self) -> str:
        """Statements for the product of the states (or gradients) of all sequences with the weights."""
        high, vectors, vector = self.high, self.lanes // self.vector, f"{self.c_type}{self.vector}"
        cells = [(i, j) for i in range(high) for j in range(vectors)]
        place = {(i, j): f"s[(y*{high}+{i})*{self.columns // self.vector}+p*{vectors}+{j}]" for i, j in cells}
        rows = "".join(f"const {self.c_type} *a{i}=a+(y*{high}+{i})*{self.depth}; " for i in range(high))
        begin = "".join(f"{vector} c{i}_{j}=0; " for i, j in cells)
        if self.depth > self.part:
            begin += f"if (k0) {{ {''.join(f'c{i}_{j}={place[i, j]}; ' for i, j in cells)}}} "
        loads = f"__global const hal_{vector} *v=(__global const hal_{vector} *)({self.weights}+"
        loads += f"((long)p*{self.depth}+k)*{self.lanes}); "
        loads += "".join(f"const {vector} b{j}_=v[{j}]; " for j in range(vectors))
        step = "".join(
            f"{{ const {self.c_type} a_=a{i}[k]; " + "".join(f"c{i}_{j}+=a_*b{j}_; " for j in range(vectors)) + "} "
            for i in range(high)
        )
        end = "".join(f"{place[i, j]}=c{i}_{j}; " for i, j in cells)
        return (
            f"for (int p=0; p<{self.columns // self.lanes}; p++) for (int k0=0; k0<{self.depth}; k0+={self.part}) {{ "
            f"const int kn=k0+{self.part}<{self.depth}?k0+{self.part}:{self.depth}; "
            f"for (int y=0; y<{self.rows // high}; y++) {{ {rows}{begin}"
            f"for (int k=k0; k<kn; k++) {{ {loads}{step}}} {end}}} }}"
        )
