"""Work that a traced program does, counted from its jaxpr.

XLA's cost analysis counts the body of a loop once, however often it runs, on every platform. A recurrent network is a
loop over its sequence, so what XLA says of it is too little by about the length of the sequence. A jaxpr says how often
a ``scan`` runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jax.extend import core

__all__ = ["Work", "count"]


@dataclass(frozen=True)
class Work:
    """What a program does, on all devices together.

    Attributes:
        flops: of its matrix products and convolutions; whatever else it does is left out.
        bytes: that these read and write, at least, if nothing stays on the chip between them.
        loops: whether it has loops at all.
        bounded: whether it says how often each loop runs; if not, bodies of the others are counted once.
    """

    flops: float = 0.0
    bytes: float = 0.0
    loops: bool = False
    bounded: bool = True

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.loops or other.loops,
            self.bounded and other.bounded,
        )

    def times(self, repeats: int, *, bounded: bool = True) -> Work:
        """The same work as the body of a loop."""
        return Work(self.flops * repeats, self.bytes * repeats, True, self.bounded and bounded)


def count(jaxpr: core.Jaxpr) -> Work:
    """Count the work of a program, that of its loops as often as they run."""
    total = Work()
    for equation in jaxpr.eqns:
        total += _work(equation)
    return total


def _work(equation: Any) -> Work:
    name = equation.primitive.name
    if name in ("dot_general", "conv_general_dilated"):
        flops = _product(equation) if name == "dot_general" else _convolution(equation)
        arrays = [variable.aval for variable in (*equation.invars, *equation.outvars)]
        return Work(flops, float(sum(array.size * array.dtype.itemsize for array in arrays)))
    bodies = [count(body) for body in _bodies(equation.params)]
    if name == "scan":
        return sum(bodies, Work()).times(equation.params["length"])
    if name == "while":
        return sum(bodies, Work()).times(1, bounded=False)
    if name == "cond":
        return max(bodies, key=lambda work: work.flops, default=Work())
    return sum(bodies, Work())


def _product(equation: Any) -> float:
    ((contracted, _), _) = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return float(2 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted))


def _convolution(equation: Any) -> float:
    kernel = equation.invars[1].aval.shape
    _, inputs, *spatial = equation.params["dimension_numbers"].rhs_spec
    taps = math.prod(kernel[axis] for axis in spatial) * kernel[inputs]
    # Zeros between the elements of a dilated input, as in the gradient of a strided convolution, cost nothing.
    return float(2 * equation.outvars[0].aval.size * taps / math.prod(equation.params["lhs_dilation"]))


def _bodies(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        for held in value if isinstance(value, tuple | list) else (value,):
            if isinstance(held, core.ClosedJaxpr):
                yield held.jaxpr
            elif isinstance(held, core.Jaxpr):
                yield held
