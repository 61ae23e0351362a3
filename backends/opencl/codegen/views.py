"""Movements as strides: where the elements of a node lie in the memory of another one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hal.backends.opencl.array import OpenclArray

__all__ = ["MOVEMENTS", "View", "base_of", "contiguous", "view_of"]


@dataclass(frozen=True)
class View:
    """Elements of a node in memory.

    Attributes:
        base: the node whose memory it is.
        offset: position of the first element.
        strides: how far apart neighbors along each axis lie, in elements.
    """

    base: OpenclArray
    offset: int
    strides: tuple[int, ...]


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of an array that lies in memory in the order of its axes."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def base_of(node: OpenclArray, in_memory: Callable[[OpenclArray], bool]) -> OpenclArray:
    """The node that has to be in memory so that this one can be read with strides."""
    chain = [node]
    while not in_memory(chain[-1]) and chain[-1].op in MOVEMENTS:
        chain.append(chain[-1].sources[0])
    while len(chain) > 1:
        if view_of(node, lambda each: each is chain[-1]) is not None:
            return chain[-1]
        chain.pop()
    return node


def view_of(node: OpenclArray, in_memory: Callable[[OpenclArray], bool]) -> View | None:
    """The strides of a node over what is in memory; None: they do not describe it."""
    if in_memory(node):
        return View(node, 0, contiguous(node.shape))
    if node.op not in MOVEMENTS:
        return None
    inner = view_of(node.sources[0], in_memory)
    return None if inner is None else MOVEMENTS[node.op](node, inner)


def _same(node: OpenclArray, inner: View) -> View:
    return inner


def _permuted(node: OpenclArray, inner: View) -> View:
    return View(inner.base, inner.offset, tuple(inner.strides[axis] for axis in node.attributes))


def _expanded(node: OpenclArray, inner: View) -> View:
    old = node.sources[0].shape
    strides = tuple(0 if n != m else s for n, m, s in zip(old, node.shape, inner.strides, strict=True))
    return View(inner.base, inner.offset, strides)


def _cut(node: OpenclArray, inner: View) -> View:
    starts, steps = node.attributes
    offset = inner.offset + sum(a * s for a, s in zip(starts, inner.strides, strict=True))
    return View(inner.base, offset, tuple(k * s for k, s in zip(steps, inner.strides, strict=True)))


def _windowed(node: OpenclArray, inner: View) -> View:
    (sh, sw), (dh, dw) = node.attributes
    n, h, w, c = inner.strides
    return View(inner.base, inner.offset, (n, h * sh, h * dh, w * sw, w * dw, c))


def _reshaped(node: OpenclArray, inner: View) -> View | None:
    old, strides = node.sources[0].shape, inner.strides
    axes = [(n, s) for n, s in zip(old, strides, strict=True) if n != 1]
    found: list[int] = []
    for n in reversed(node.shape):
        if n == 1:
            found.append(0)
            continue
        taken = 1
        stride = axes[-1][1] if axes else 0
        while taken < n:
            size, step = axes[-1]
            if step != stride * taken:
                return None
            rest = n // taken
            if size <= rest:
                if rest % size:
                    return None
                axes.pop()
                taken *= size
            else:
                if size % rest:
                    return None
                axes[-1] = (size // rest, step * rest)
                taken *= rest
        found.append(stride)
    return View(inner.base, inner.offset, tuple(reversed(found)))


MOVEMENTS: dict[str, Callable[[OpenclArray, View], View | None]] = {
    "detach": _same,
    "custom": _same,
    "permute": _permuted,
    "expand": _expanded,
    "cut": _cut,
    "windows": _windowed,
    "reshape": _reshaped,
}
"""Operations that only say where elements lie, with the strides that they give."""
