"""The derivative of each primitive: from the gradient of a node to those of its sources, as nodes of the same graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hal.backends._traced import dtypes
from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.errors import UnsupportedError

__all__ = ["derivative", "gradients_of_slices"]

Array = OpenclArray
Gradients = Sequence[Array | None]


def derivative(node: Array, gradient: Array) -> Gradients:
    """Gradients of the sources of a node; None: zero everywhere.

    Raises:
        UnsupportedError: this primitive has no derivative.
    """
    if node.op == "map":
        name = node.attributes
        if name in _MAPS:
            return _MAPS[name](gradient, node, *node.sources)
        if name in _FLAT:
            return (None,) * len(node.sources)
        raise UnsupportedError(f"{name} has no derivative on the opencl backend", fix="use another function")
    if node.op not in _PRIMITIVES:
        raise UnsupportedError(f"{node.op} has no derivative on the opencl backend", fix="use another function")
    return _PRIMITIVES[node.op](gradient, node)


def _ew(name: str, *operands: object) -> Array:
    return p.elementwise(name, *operands)


def _where(condition: Any, x: object, y: object) -> Array:
    return p.elementwise("where", condition, x, y)


# Of elementwise functions


def _divide(g: Array, y: Array, a: Array, b: Array) -> Gradients:
    return g / b, -g * y / b


def _pow(g: Array, y: Array, a: Array, b: Array) -> Gradients:
    of_base = _where(b == 0, 0.0, b * _ew("pow", a, b - 1))
    of_exponent = _where(a == 0, 0.0, y * _ew("log", a))
    return g * of_base, g * of_exponent


def _equal_share(g: Array, a: Array, b: Array, larger: str) -> Gradients:
    first = _where(a == b, 0.5, p.cast(_ew(larger, a, b), g.dtype))
    return g * first, g * (1 - first)


def _atan2(g: Array, y: Array, a: Array, b: Array) -> Gradients:
    square = a * a + b * b
    factor = _where(square == 0, 0.0, g / square)
    return factor * b, -factor * a


def _hypot(g: Array, y: Array, a: Array, b: Array) -> Gradients:
    factor = _where(y == 0, 0.0, g / y)
    return factor * a, factor * b


def _logaddexp(g: Array, y: Array, a: Array, b: Array) -> Gradients:
    return g * _ew("exp", a - y), g * _ew("exp", b - y)


def _remainder(g: Array, y: Array, a: Array, b: Array) -> Gradients:
    return g, -g * _ew("floor_divide", a, b)


def _copysign(g: Array, y: Array, a: Array, b: Array) -> Gradients:
    same = _ew("signbit", a) == _ew("signbit", b)
    return _where(a == 0, 0.0, _where(same, g, -g)), None


def _bounded(g: Array, y: Array, x: Array, bound: Array, beyond: str) -> Gradients:
    outside = _ew(beyond, x, bound)
    return _where(outside, 0.0, g), _where(outside, g, 0.0)


_MAPS: Mapping[str, Callable[..., Gradients]] = {
    "add": lambda g, y, a, b: (g, g),
    "subtract": lambda g, y, a, b: (g, -g),
    "multiply": lambda g, y, a, b: (g * b, g * a),
    "divide": _divide,
    "negative": lambda g, y, a: (-g,),
    "positive": lambda g, y, a: (g,),
    "conj": lambda g, y, a: (g,),
    "real": lambda g, y, a: (p.cast(g, a.dtype),),
    "imag": lambda g, y, a: (p.mapped("complex", (p.constant(g.runtime, 0, g.dtype, g.shape), g), a.dtype),),
    "complex": lambda g, y, a, b: (_ew("real", g), _ew("imag", g)),
    "square": lambda g, y, a: (2 * g * a,),
    "cast": lambda g, y, a: (p.cast(g, a.dtype),) if a.dtype.kind == "f" else (None,),
    "where": lambda g, y, c, a, b: (None, _where(c, g, 0.0), _where(c, 0.0, g)),
    "abs": lambda g, y, a: (g * _ew("sign", a),),
    "relu": lambda g, y, a: (_where(y <= 0, 0.0, g),),
    "sigmoid": lambda g, y, a: (g * y * (1 - y),),
    "exp": lambda g, y, a: (g * y,),
    "expm1": lambda g, y, a: (g * (y + 1),),
    "log": lambda g, y, a: (g / a,),
    "log1p": lambda g, y, a: (g / (a + 1),),
    "log2": lambda g, y, a: (g / (a * math.log(2)),),
    "log10": lambda g, y, a: (g / (a * math.log(10)),),
    "sqrt": lambda g, y, a: (g * (0.5 / y),),
    "reciprocal": lambda g, y, a: (-g * y * y,),
    "sin": lambda g, y, a: (g * _ew("cos", a),),
    "cos": lambda g, y, a: (-g * _ew("sin", a),),
    "tan": lambda g, y, a: (g * (1 + y * y),),
    "sinh": lambda g, y, a: (g * _ew("cosh", a),),
    "cosh": lambda g, y, a: (g * _ew("sinh", a),),
    "tanh": lambda g, y, a: (g * (1 - y * y),),
    "asin": lambda g, y, a: (g / _ew("sqrt", 1 - a * a),),
    "acos": lambda g, y, a: (-g / _ew("sqrt", 1 - a * a),),
    "atan": lambda g, y, a: (g / (1 + a * a),),
    "asinh": lambda g, y, a: (g / _ew("sqrt", a * a + 1),),
    "acosh": lambda g, y, a: (g / _ew("sqrt", a * a - 1),),
    "atanh": lambda g, y, a: (g / (1 - a * a),),
    "maximum": lambda g, y, a, b: _equal_share(g, a, b, "greater"),
    "minimum": lambda g, y, a, b: _equal_share(g, a, b, "less"),
    "pow": _pow,
    "atan2": _atan2,
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "remainder": _remainder,
    "copysign": _copysign,
    "at_least": lambda g, y, x, b: _bounded(g, y, x, b, "less"),
    "at_most": lambda g, y, x, b: _bounded(g, y, x, b, "greater"),
    "nextafter": lambda g, y, a, b: (g, None),
}
_FLAT = frozenset(
    "ceil floor floor_divide round sign trunc equal greater greater_equal isfinite isinf isnan less less_equal "
    "logical_and logical_not logical_or logical_xor not_equal signbit bitwise_and bitwise_invert bitwise_left_shift "
    "bitwise_or bitwise_right_shift bitwise_xor threefry_first threefry_second threefry_word unit".split()
)
"""Elementwise functions whose derivative is zero, or that have none because they give no floating numbers."""


# Of movements


def _expand(g: Array, node: Array) -> Gradients:
    (x,) = node.sources
    return (p.reduce("sum", g, [axis for axis in range(x.ndim) if x.shape[axis] != node.shape[axis]]),)


def _cut(g: Array, node: Array) -> Gradients:
    (x,), (starts, steps) = node.sources, node.attributes
    flipped = [axis for axis, step in enumerate(steps) if step < 0]
    if flipped:  # the same elements, counted from the other end
        firsts = [g.shape[axis] - 1 if axis in flipped else 0 for axis in range(g.ndim)]
        g = p.cut(g, firsts, [-1 if axis in flipped else 1 for axis in range(g.ndim)], g.shape)
        starts = [
            start + step * (n - 1) if step < 0 else start for start, step, n in zip(starts, steps, g.shape, strict=True)
        ]
        steps = [abs(step) for step in steps]
    if node.size == 0:
        return (p.constant(g.runtime, 0.0, g.dtype, x.shape),)
    after = [
        n - start - (m - 1) * step - 1 for n, start, step, m in zip(x.shape, starts, steps, node.shape, strict=True)
    ]
    return (p.pad(g, starts, after, [step - 1 for step in steps]),)


def gradients_of_slices(x: Array, slices: Sequence[tuple[Array, Array]]) -> list[Array]:
    """What slices add to the gradient of their source.

    Slices of one axis that do not overlap, such as the steps of a sequence, are put side by side.

    Args:
        x: the source.
        slices: nodes that cut it, with their gradients.
    """
    groups: dict[int, list[tuple[int, Array, Array]]] = {}
    found = []
    for node, gradient in slices:
        axis = _only_axis(x, node)
        if axis is None:
            found.append(_cut(gradient, node)[0])
        else:
            groups.setdefault(axis, []).append((node.attributes[0][axis], node, gradient))
    for axis, parts in groups.items():
        parts.sort(key=lambda part: part[0])
        ends = [start + node.shape[axis] for start, node, _ in parts]
        if any(start < end for (start, _, _), end in zip(parts[1:], ends, strict=False)):
            found.extend(_cut(gradient, node)[0] for _, node, gradient in parts)
        else:
            found.append(_side_by_side(x, axis, parts))
    return [part for part in found if part is not None]


def _only_axis(x: Array, node: Array) -> int | None:
    """The one axis of which a slice takes a part without steps; None: it takes something else."""
    _, steps = node.attributes
    cut = [axis for axis in range(x.ndim) if node.shape[axis] != x.shape[axis]]
    return cut[0] if len(cut) == 1 and all(step == 1 for step in steps) and node.size else None


def _side_by_side(x: Array, axis: int, parts: Sequence[tuple[int, Array, Array]]) -> Array:
    pieces, at = [], 0

    def fill(count: int) -> None:
        if count:
            shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
            pieces.append(p.constant(x.runtime, 0.0, parts[0][2].dtype, shape))

    for start, node, gradient in parts:
        fill(start - at)
        pieces.append(gradient)
        at = start + node.shape[axis]
    fill(x.shape[axis] - at)
    return p.concat(pieces, axis)


def _pad(g: Array, node: Array) -> Gradients:
    (x,), (low, inner, _) = node.sources, node.attributes
    return (p.cut(g, low, [more + 1 for more in inner], x.shape),)


def _windows(g: Array, node: Array) -> Gradients:
    (x,), (steps, spacing) = node.sources, node.attributes
    spread = p.unwindows(g, (x.shape[1], x.shape[2]), steps, spacing)
    total = p.reduce("sum", spread, (2, 4))
    return (p.reshape(total, x.shape),)


def _unwindows(g: Array, node: Array) -> Gradients:
    raise UnsupportedError("the second derivative of a window is not part of the opencl backend")


def _reduce(g: Array, node: Array) -> Gradients:
    (x,), (kind, axes) = node.sources, node.attributes
    if kind == "sum":
        return (p.expand(g, x.shape),)
    if kind in ("max", "min"):
        hit = p.cast(_ew("equal", x, p.expand(node, x.shape)), g.dtype)
        return (hit * p.expand(g / p.reduce("sum", hit, axes), x.shape),)
    if kind == "prod":
        return (p.expand(g, x.shape) * _products_of_others(x, axes),)
    return (None,)


def _products_of_others(x: Array, axes: Sequence[int]) -> Array:
    """For each element the product of all others along some axes, exact where there are zeros."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    order = (*kept, *axes)
    count = math.prod(x.shape[axis] for axis in axes)
    rows = p.reshape(p.permute(x, order), (*(x.shape[axis] for axis in kept), count))
    others = _with_ones(rows)
    product = p.reshape(p.reduce("prod", others, (others.ndim - 1,)), rows.shape)
    moved = p.reshape(product, [x.shape[axis] for axis in order])
    return p.permute(moved, [order.index(axis) for axis in range(x.ndim)])


def _with_ones(rows: Array) -> Array:
    """(..., n) to (..., n, n): each row once for each element, which is replaced by 1 in its own."""
    count = rows.shape[-1]
    repeated = p.broadcast(p.reshape(rows, (*rows.shape[:-1], 1, count)), (*rows.shape, count))
    positions = p.iota(rows.runtime, count, dtypes.int32)
    own = p.reshape(positions, (count, 1)) == p.reshape(positions, (1, count))
    return _where(own, 1.0, repeated)


def _contract(g: Array, node: Array) -> Gradients:
    a, b = node.sources
    batch_a, batch_b, inner_a, inner_b = node.attributes
    left = [axis for axis in range(a.ndim) if axis not in (*batch_a, *inner_a)]
    right = [axis for axis in range(b.ndim) if axis not in (*batch_b, *inner_b)]
    batch = tuple(range(len(batch_a)))
    rows = [len(batch) + i for i in range(len(left))]
    columns = [len(batch) + len(left) + i for i in range(len(right))]
    of_a = of_b = None
    if a.tracked:
        made = p.contract(g, b, (batch, batch_b), (columns, right))
        places = (*batch_a, *left, *[inner_a[inner_b.index(axis)] for axis in sorted(inner_b)])
        of_a = p.permute(made, [places.index(axis) for axis in range(a.ndim)])
    if b.tracked:
        made = p.contract(a, g, (batch_a, batch), (left, rows))
        places = (*batch_b, *[inner_b[inner_a.index(axis)] for axis in sorted(inner_a)], *right)
        of_b = p.permute(made, [places.index(axis) for axis in range(b.ndim)])
    return of_a, of_b


def _gather(g: Array, node: Array) -> Gradients:
    x, index = node.sources
    rows = p.reshape(g, (index.size, *x.shape[1:]))
    zeros = p.constant(g.runtime, 0.0, g.dtype, x.shape)
    return p.scatter(zeros, p.reshape(index, (index.size,)), rows, add=True), None


def _scatter(g: Array, node: Array) -> Gradients:
    x, index, rows = node.sources
    taken = p.gather(g, index)
    inside = _ew("logical_and", index >= 0, index < x.shape[0])
    inside = p.broadcast(p.reshape(inside, (index.size, *(1,) * (x.ndim - 1))), rows.shape)
    of_rows = _where(inside, taken, 0.0)
    if node.attributes:
        return g, None, of_rows
    zeros = p.constant(g.runtime, 0.0, g.dtype, rows.shape)
    return p.scatter(g, index, zeros, add=False), None, of_rows


def _concat(g: Array, node: Array) -> Gradients:
    parts, at, axis = [], 0, node.attributes
    for source in node.sources:
        starts = [at if k == axis else 0 for k in range(g.ndim)]
        parts.append(p.cut(g, starts, (1,) * g.ndim, source.shape))
        at += source.shape[axis]
    return parts


def _backwards(x: Array) -> Array:
    last = x.shape[-1] - 1
    return p.cut(x, (*(0,) * (x.ndim - 1), last), (*(1,) * (x.ndim - 1), -1), x.shape)


def _cumulate(g: Array, node: Array) -> Gradients:
    (x,) = node.sources
    if node.attributes == "sum":
        return (_backwards(p.cumulate("sum", _backwards(g))),)
    products = p.cumulate("prod", _with_ones(x))
    count = x.shape[-1]
    positions = p.iota(x.runtime, count, dtypes.int32)
    later = p.reshape(positions, (1, count)) >= p.reshape(positions, (count, 1))
    weighted = _where(later, products * p.reshape(g, (*g.shape[:-1], 1, count)), 0.0)
    return (p.reshape(p.reduce("sum", weighted, (weighted.ndim - 1,)), x.shape),)


_PRIMITIVES: Mapping[str, Callable[[Array, Array], Gradients]] = {
    "custom": lambda g, node: (None, *node.attributes(g)),
    "detach": lambda g, node: (None,),
    "reshape": lambda g, node: (p.reshape(g, node.sources[0].shape),),
    "permute": lambda g, node: (p.permute(g, [node.attributes.index(axis) for axis in range(g.ndim)]),),
    "expand": _expand,
    "pad": _pad,
    "windows": _windows,
    "unwindows": _unwindows,
    "reduce": _reduce,
    "contract": _contract,
    "gather": _gather,
    "scatter": _scatter,
    "concat": _concat,
    "cumulate": _cumulate,
    "order": lambda g, node: (None,),
}
