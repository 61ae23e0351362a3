"""Recurrent layers on processors: one launch for all steps forwards, and one backwards for each result with a gradient.

The results are h at all steps, and the last c.
"""

from __future__ import annotations

from collections.abc import Sequence

from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.recurrent import CELLS, tiles_of

__all__ = ["recurrent"]

Array = OpenclArray


def recurrent(
    name: str, gates: Array, h: Array, c: Array | None, weights: Array, bias: Array | None
) -> tuple[Array, Array | None]:
    """A layer over a sequence.

    Args:
        name: of the cell, one of :data:`~hal.backends.opencl.codegen.recurrent.CELLS`.
        gates: of the input, (time, batch, gates * units).
        h: before the first step, (batch, units).
        c: likewise, for a cell that has one.
        weights: (units, gates * units).
        bias: added to the gates of the state, (gates * units).

    Returns:
        h after each step (time, batch, units), and c after the last, for a cell that has one.
    """
    cell = CELLS[name]
    steps, batch, _ = gates.shape
    units = weights.shape[0]
    given = [x for x in (gates, h, c, weights, bias) if x is not None]
    first = h if c is None else c
    added = p.constant(gates.runtime, 0.0, gates.dtype, (cell.gates * units,)) if bias is None else bias
    states = (cell.kept - 1,) if cell.c is None else (cell.c, cell.kept - 1)
    # Only a backward pass reads the rest of what a step computes.
    which = tuple(range(cell.kept)) if any(x.tracked for x in given) else states
    kept = p.recur(
        name,
        [p.detach(x) for x in (gates, _panels(weights, batch, units), h, first, added)],
        (steps, batch, len(which), units),
        which,
    )

    def gradients(of_h: Array, of_c: Array) -> Sequence[Array | None]:
        turned = _panels(p.permute(weights, (1, 0)), batch, units)
        sources = [p.detach(x) for x in (of_h, turned, h, first, kept, of_c)]
        made = p.recur(name, sources, (steps, batch, cell.made, units), None)
        inner = _side_by_side(made, 0, cell.gates)
        of_input = inner
        if cell.made > cell.gates + 1:  # the last gate of the state is not that of the input
            own = [_side_by_side(made, 0, cell.gates - 1), _side_by_side(made, cell.gates, cell.gates + 1)]
            of_input = p.concat(own, 2)
        before = p.contract(p.reshape(p.detach(h), (1, *h.shape)), inner[:1, :, :], ((), ()), ((0, 1), (0, 1)))
        of_weights = before
        if steps > 1:
            earlier = p.reshape(kept[: steps - 1, :, -1:, :], (steps - 1, batch, units))
            of_weights = before + p.contract(earlier, inner[1:, :, :], ((), ()), ((0, 1), (0, 1)))
        carried = made[0, :, cell.made - 1, :]
        of_first = p.contract(inner[0, :, :], p.detach(weights), ((), ()), ((1,), (1,)))
        found = [of_input, of_first + carried if cell.carried else of_first]
        if c is not None:
            found.append(carried)
        found.append(of_weights)
        if bias is not None:
            found.append(p.reshape(p.reduce("sum", inner, (0, 1)), bias.shape))
        return found

    def zeros(shape: tuple[int, ...]) -> Array:
        return p.constant(gates.runtime, 0.0, gates.dtype, shape)

    ys = p.reshape(kept[:, :, -1:, :], (steps, batch, units))
    ys = p.custom(ys, given, lambda gradient: gradients(gradient, zeros((batch, units))))
    if cell.c is None:
        return ys, None
    last = p.custom(
        kept[steps - 1, :, which.index(cell.c), :], given, lambda gradient: gradients(zeros(ys.shape), gradient)
    )
    return ys, last


def _side_by_side(made: Array, start: int, stop: int) -> Array:
    """Some of what a step backwards makes: (time, batch, made, units) to (time, batch, (stop - start) * units)."""
    steps, batch, _, units = made.shape
    return p.reshape(made[:, :, start:stop, :], (steps, batch, (stop - start) * units))


def _panels(weights: Array, batch: int, units: int) -> Array:
    """A copy (panels, depth, columns of a tile) of weights (depth, columns), with zeros where columns are missing."""
    _, _, lanes = tiles_of(batch, units, weights.runtime.facts)
    depth, columns = weights.shape
    count = -(-columns // lanes)
    whole = p.pad(p.detach(weights), (0, 0), (0, count * lanes - columns))
    return p.mapped("positive", (p.permute(p.reshape(whole, (depth, count, lanes)), (1, 0, 2)),), weights.dtype)
