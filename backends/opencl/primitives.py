"""The primitives of the graph: each function makes one node, or none where nothing is to be done.

Movements (``reshape``, ``permute``, ``expand``, ``cut``, ``pad``, ``windows``, ``unwindows``) only say where an
element comes from, so they cost nothing where a kernel reads through them. ``map`` computes element by element.
``gather`` reads positions. The others (``reduce``, ``contract``, ``concat``, ``scatter``, ``cumulate``, ``order``,
``recur``)
have kernels of their own. ``custom`` is a value with a derivative of its own; ``detach`` is a value as a constant for
differentiation.

Shapes are checked by the callers.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hal.backends._traced import dtypes, shapes
from hal.backends._traced.dtypes import DType, as_dtype
from hal.backends._traced.results import result_of
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import chosen
from hal.backends.opencl.codegen.local_tiles import results_of_a_group
from hal.backends.opencl.codegen.pieces import product_pieces, sum_pieces
from hal.backends.opencl.codegen.register_tiles import results_of_a_block
from hal.backends.opencl.codegen.views import MOVEMENTS, view_of
from hal.backends.opencl.storage import BaseRuntime
from hal.errors import UnsupportedError

__all__ = [
    "COMPLEX",
    "broadcast",
    "cast",
    "concat",
    "constant",
    "contract",
    "cumulate",
    "custom",
    "cut",
    "detach",
    "elementwise",
    "expand",
    "from_numpy",
    "function",
    "gather",
    "iota",
    "mapped",
    "order",
    "pad",
    "permute",
    "recur",
    "reduce",
    "reshape",
    "scatter",
    "unwindows",
    "variable",
    "windows",
]

Array = OpenclArray

COMPLEX: dict[str, Callable[..., OpenclArray]] = {}
"""The primitives on complex numbers that are written with those on real ones: those of complexes.py, on top of this."""

_COLUMNS = 8
"""From so many columns on a product on a card copies its second operand if they do not lie side by side."""


def _make(op: str, sources: Sequence[Array], attributes: Any, shape: Sequence[int], dtype: DType) -> Array:
    runtime = sources[0].runtime
    if any(source.runtime is not runtime for source in sources):
        listed = ", ".join(sorted({str(source.device) for source in sources}))
        raise UnsupportedError(f"arrays of several devices were combined: {listed}", fix="copy them with to_device")
    return Array(op, tuple(sources), attributes, tuple(shape), dtype, runtime)


def from_numpy(runtime: BaseRuntime, host: np.ndarray) -> Array:
    """A copy of a NumPy array on a device."""
    dtype = as_dtype(host.dtype)
    runtime.check(dtype)
    return Array("leaf", (), None, host.shape, dtype, runtime, runtime.upload(host))


def constant(runtime: BaseRuntime, value: Any, dtype: DType, shape: Sequence[int] = ()) -> Array:
    """One value, written into the kernels that read it."""
    runtime.check(dtype)
    scalar = Array("constant", (), dtype_value(value, dtype), (), dtype, runtime)
    return broadcast(scalar, tuple(shape))


def dtype_value(value: Any, dtype: DType) -> Any:
    """A Python number as an element of a type: bool, int, float or complex, wrapped or rounded as NumPy does."""
    if dtype.kind in "iu" and isinstance(value, int):
        bits = 8 * dtype.itemsize
        value = value % (1 << bits)
        return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value
    with np.errstate(all="ignore"):
        return np.asarray(value).astype(np.dtype(dtype.name)).item()


def iota(runtime: BaseRuntime, count: int, dtype: DType) -> Array:
    """0, 1, ... below a count."""
    runtime.check(dtype)
    return Array("iota", (), None, (count,), dtype, runtime)


def detach(x: Array) -> Array:
    """The same values as a constant for differentiation."""
    y = _make("detach", (x,), None, x.shape, x.dtype)
    y.tracked = False
    return y


def variable(x: Array) -> Array:
    """The same values, with respect to which derivatives are asked for."""
    y = _make("detach", (x,), None, x.shape, x.dtype)
    y.tracked = True
    return y


def custom(y: Array, inputs: Sequence[Array], derivative: Callable[[Array], Sequence[Array | None]]) -> Array:
    """A value whose derivative is given: ``derivative(gradient)`` has one gradient for each input."""
    made = _make("custom", (y, *inputs), derivative, y.shape, y.dtype)
    made.tracked = any(source.tracked for source in inputs)
    return made


# Movements


def reshape(x: Array, shape: Sequence[int]) -> Array:
    """The elements in another shape, in the same order."""
    return x if tuple(shape) == x.shape else _make("reshape", (x,), None, shape, x.dtype)


def permute(x: Array, axes: Sequence[int]) -> Array:
    """The axes in another order."""
    order = tuple(axes)
    if order == tuple(range(x.ndim)):
        return x
    return _make("permute", (x,), order, [x.shape[a] for a in order], x.dtype)


def expand(x: Array, shape: Sequence[int]) -> Array:
    """Axes of size 1 repeated; as many axes as before."""
    return x if tuple(shape) == x.shape else _make("expand", (x,), None, shape, x.dtype)


def broadcast(x: Array, shape: Sequence[int]) -> Array:
    """X in a shape that it broadcasts to."""
    return expand(reshape(x, (1,) * (len(shape) - x.ndim) + x.shape), shape)


def cut(x: Array, starts: Sequence[int], steps: Sequence[int], shape: Sequence[int]) -> Array:
    """Every step-th element of each axis from its start; steps may be negative."""
    if tuple(shape) == x.shape and all(step == 1 for step in steps) and not any(starts):
        return x
    return _make("cut", (x,), (tuple(starts), tuple(steps)), shape, x.dtype)


def pad(x: Array, low: Sequence[int], high: Sequence[int], inner: Sequence[int] | None = None, value: Any = 0) -> Array:
    """One value before, after and between the elements of each axis: ``inner`` of them between two."""
    inner = (0,) * x.ndim if inner is None else tuple(inner)
    if not any((*low, *high, *inner)):
        return x
    grown = [
        before + n + max(n - 1, 0) * more + after
        for n, before, after, more in zip(x.shape, low, high, inner, strict=True)
    ]
    return _make("pad", (x,), (tuple(low), inner, dtype_value(value, x.dtype)), grown, x.dtype)


def windows(x: Array, size: tuple[int, int], steps: tuple[int, int], spacing: tuple[int, int]) -> Array:
    """Windows of images: (n, h, w, c) to (n, rows, size[0], columns, size[1], c)."""
    n, height, width, channels = x.shape
    rows, columns = (
        (extent - (window - 1) * space - 1) // step + 1
        for extent, window, step, space in zip((height, width), size, steps, spacing, strict=True)
    )
    shape = (n, rows, size[0], columns, size[1], channels)
    return _make("windows", (x,), (steps, spacing), shape, x.dtype)


def unwindows(x: Array, extent: tuple[int, int], steps: tuple[int, int], spacing: tuple[int, int]) -> Array:
    """For each pixel its value in each window, or 0: (n, rows, kh, columns, kw, c) to (n, h, kh, w, kw, c).

    The sum over the axes of the windows is the transpose of :func:`windows`.
    """
    n, _, kh, _, kw, channels = x.shape
    return _make("unwindows", (x,), (steps, spacing), (n, extent[0], kh, extent[1], kw, channels), x.dtype)


# What computes


def mapped(name: str, sources: Sequence[Array], dtype: DType) -> Array:
    """A function of the table of expressions, on arrays of one shape."""
    return _make("map", sources, name, sources[0].shape, dtype)


def cast(x: Array, dtype: DType) -> Array:
    """The values in another type."""
    if x.dtype == dtype:
        return x
    x.runtime.check(dtype)
    if x.op == "constant":
        return constant(x.runtime, x.attributes, dtype)
    if "c" in (x.dtype.kind, dtype.kind):
        return COMPLEX["converted"](x, dtype)
    return mapped("cast", (x,), dtype)


def elementwise(name: str, *operands: Any) -> Array:
    """A function of the standard on arrays and scalars that broadcast."""
    operands = tuple(x.item() if isinstance(x, np.generic) else x for x in operands)
    arrays = [x for x in operands if isinstance(x, Array)]
    if not arrays or any(not isinstance(x, Array | int | float | complex) for x in operands):
        kinds = ", ".join(type(x).__name__ for x in operands)
        raise UnsupportedError(
            f"{name} was given {kinds}", fix="pass arrays of the opencl backend and scalars, at least one array"
        )
    computed, dtype = result_of(name, *operands)
    runtime, shape = arrays[0].runtime, shapes.broadcast(*(x.shape for x in arrays))
    placed = []
    for i, x in enumerate(operands):
        kind = dtypes.bool_ if name == "where" and i == 0 else computed
        value = x if isinstance(x, Array) else constant(runtime, x, kind)
        placed.append(broadcast(cast(value, kind), shape))
    if computed.kind == "c":
        return COMPLEX["elementwise"](name, placed)
    return mapped(name, placed, dtype)


def function(name: str) -> Callable[..., Array]:
    """:func:`elementwise` of one name."""
    return functools.partial(elementwise, name)


def reduce(kind: str, x: Array, axes: Sequence[int]) -> Array:
    """Axes to size 1: by sum, prod, max, min, any, all, argmax or argmin (positions among the axes, row by row)."""
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    dtype = dtypes.int64 if kind.startswith("arg") else x.dtype
    if all(x.shape[axis] == 1 for axis in axes):
        return constant(x.runtime, 0, dtype, shape) if kind.startswith("arg") else x
    if math.prod(x.shape[axis] for axis in axes) == 0:
        return constant(x.runtime, {"prod": 1, "all": 1}.get(kind, 0), dtype, shape)
    axes = tuple(sorted(axes))
    if x.dtype.kind == "c":
        return COMPLEX["reduced"](kind, x, axes)
    if kind == "sum" and (pieces := sum_pieces(x.runtime.facts, x.shape, axes)):
        return _sum_in_pieces(x, axes, shape, *pieces)
    return _make("reduce", (x,), (kind, axes), shape, dtype)


def _sum_in_pieces(x: Array, axes: Sequence[int], shape: Sequence[int], axis: int, count: int) -> Array:
    """A sum of sums over pieces of an axis, which run side by side."""
    size = x.shape[axis]
    split = reshape(x, (*x.shape[:axis], count, size // count, *x.shape[axis + 1 :]))
    inner = [a if a < axis else a + 1 for a in axes]
    parts = _make(
        "reduce", (split,), ("sum", tuple(inner)), [1 if a in inner else n for a, n in enumerate(split.shape)], x.dtype
    )
    total = _make(
        "reduce", (parts,), ("sum", (axis,)), [1 if a == axis else n for a, n in enumerate(parts.shape)], x.dtype
    )
    return reshape(total, shape)


def contract(
    a: Array, b: Array, batch: tuple[Sequence[int], Sequence[int]], inner: tuple[Sequence[int], Sequence[int]]
) -> Array:
    """A sum of products over pairs of axes, side by side over others: (batch, the rest of a, the rest of b)."""
    (batch_a, batch_b), (inner_a, inner_b) = batch, inner
    left = [axis for axis in range(a.ndim) if axis not in (*batch_a, *inner_a)]
    right = [axis for axis in range(b.ndim) if axis not in (*batch_b, *inner_b)]
    shape = [a.shape[i] for i in (*batch_a, *left)] + [b.shape[i] for i in right]
    inner_size, columns = math.prod(a.shape[i] for i in inner_a), math.prod(b.shape[i] for i in right)
    if inner_size == 0:
        return constant(a.runtime, 0, a.dtype, shape)
    if a.dtype.kind == "c":
        return COMPLEX["product"](a, b, lambda x, y: contract(x, y, batch, inner))
    if a.dtype == dtypes.float16:
        return cast(contract(cast(a, dtypes.float32), cast(b, dtypes.float32), batch, inner), dtypes.float16)
    facts, choices = a.runtime.facts, chosen(a.runtime.facts)
    if not facts.cpu and columns >= _COLUMNS and not _side_by_side(b, right):
        b = _copied(b, (*batch_b, *inner_b, *right))
        count = len(batch_b)
        batch_b, inner_b = tuple(range(count)), tuple(range(count, count + len(inner_b)))
    count = 0
    if not batch_a and choices.pieces:
        results = math.prod(shape)
        if facts.cpu:
            group = results_of_a_block(results // max(columns, 1), columns, choices, facts)
        else:
            group = results_of_a_group(facts, choices)
        count = product_pieces(facts, a.shape[inner_a[0]], inner_size, results, results_of_a_group=group)
    if count:
        first, second = inner_a[0], inner_b[0]
        a = reshape(a, (*a.shape[:first], count, a.shape[first] // count, *a.shape[first + 1 :]))
        b = reshape(b, (*b.shape[:second], count, b.shape[second] // count, *b.shape[second + 1 :]))
        batch_a, batch_b = (first,), (second,)
        inner_a = [i if i < first else i + 1 for i in inner_a]
        inner_b = [i if i < second else i + 1 for i in inner_b]
        shape = [count, *shape]
    attributes = (tuple(batch_a), tuple(batch_b), tuple(inner_a), tuple(inner_b))
    product = _make("contract", (a, b), attributes, shape, a.dtype)
    if not count:
        return product
    return reshape(_make("reduce", (product,), ("sum", (0,)), (1, *shape[1:]), a.dtype), shape[1:])


def _copied(x: Array, order: tuple[int, ...]) -> Array:
    """A copy with the axes in another order in memory, one for all products that read it."""
    held = x.copies.get(order)
    copy = None if held is None else held()
    if copy is None:
        copy = mapped("positive", (permute(x, order),), x.dtype)
        x.copies[order] = weakref.ref(copy)
    return copy


def _side_by_side(b: Array, right: Sequence[int]) -> bool:
    """Whether neighboring columns of the second operand of a contraction are neighbors in memory."""
    view = view_of(b, lambda each: each.storage is not None or each.op not in MOVEMENTS)
    if view is None:
        return False
    expected = 1
    for axis in reversed(right):
        if b.shape[axis] != 1 and view.strides[axis] != expected:
            return False
        expected *= b.shape[axis]
    return True


def gather(x: Array, index: Array) -> Array:
    """Rows of x by position: (n, ...) and (any shape) to (any shape, ...); NaN or 0 for positions outside."""
    return _make("gather", (x, index), None, (*index.shape, *x.shape[1:]), x.dtype)


def scatter(x: Array, index: Array, rows: Array, *, add: bool) -> Array:
    """X (n, ...) with rows (k, ...) put at or added to the positions (k,); positions outside are left out."""
    return _make("scatter", (x, index, rows), add, x.shape, x.dtype)


def concat(arrays: Sequence[Array], axis: int) -> Array:
    """Arrays side by side along an axis."""
    kept = [x for x in arrays if x.shape[axis]] or [arrays[0]]
    if len(kept) == 1:
        return kept[0]
    first = kept[0].shape
    shape = (*first[:axis], sum(x.shape[axis] for x in kept), *first[axis + 1 :])
    return _make("concat", kept, axis, shape, kept[0].dtype)


def cumulate(kind: str, x: Array) -> Array:
    """Sums or products (``sum``, ``prod``) of all values up to each along the last axis."""
    if x.dtype.kind == "c":
        return COMPLEX["cumulative"](kind, x)
    return _make("cumulate", (x,), kind, x.shape, x.dtype)


def recur(name: str, sources: Sequence[Array], shape: Sequence[int], kept: tuple[int, ...] | None) -> Array:
    """All steps of a recurrent layer, forwards, or backwards if nothing is kept; see :mod:`.codegen.recurrent`."""
    return _make("recur", sources, (name, kept), shape, sources[0].dtype)


def order(x: Array) -> Array:
    """The positions that sort the last axis, upwards and stable, NaN last."""
    if x.dtype.kind == "c":
        raise UnsupportedError("complex numbers have no order", fix="sort real(x), imag(x) or abs(x)")
    return _make("order", (x,), None, x.shape, dtypes.int64)
