"""What a contraction is once its operands lie in memory: sizes and strides, merged where neighbors allow it.

Products of matrices, convolutions and their gradients are all ``out[z, m, n] = sum over k of a[z, m, k] * b[z, k, n]``,
with addresses that are sums of a part for each of z, m, k and n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.views import View, view_of

__all__ = ["FUSED", "Product", "parts_of", "product_of"]

FUSED = "\n#pragma OPENCL FP_CONTRACT ON\n"
"""Products may be added up by fused multiply-adds; what follows from a sum may not."""

Axis = tuple[int, ...]
"""Size of an axis and its strides: in a, in b, or in both."""


@dataclass(frozen=True)
class Product:
    """A contraction.

    Attributes:
        node: of the graph.
        a: first operand.
        b: second operand.
        batch: axes (size, stride in a, stride in b).
        left: axes of the rows (size, stride in a).
        inner: axes that are summed over (size, stride in a, stride in b).
        right: axes of the columns (size, stride in b).
    """

    node: OpenclArray
    a: View
    b: View
    batch: tuple[Axis, ...]
    left: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    right: tuple[Axis, ...]

    @property
    def rows(self) -> int:
        """Size of m."""
        return math.prod(axis[0] for axis in self.left)

    @property
    def columns(self) -> int:
        """Size of n."""
        return math.prod(axis[0] for axis in self.right)

    @property
    def batches(self) -> int:
        """Size of z."""
        return math.prod(axis[0] for axis in self.batch)

    @property
    def depth(self) -> int:
        """Size of k."""
        return math.prod(axis[0] for axis in self.inner)

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.columns * self.batches * self.depth


def merged(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Axes with neighbors made one where the strides are those of one axis; axes of size 1 are left out."""
    found: list[Axis] = []
    for axis in axes:
        if axis[0] == 1:
            continue
        if found and all(outer == inner * axis[0] for outer, inner in zip(found[-1][1:], axis[1:], strict=True)):
            found[-1] = (found[-1][0] * axis[0], *axis[1:])
        else:
            found.append(axis)
    return tuple(found)


def product_of(node: OpenclArray, in_memory: Callable[[OpenclArray], bool]) -> Product:
    """The product that a contraction is, whose operands can be read with strides."""
    x, y = node.sources
    batch_a, batch_b, inner_a, inner_b = node.attributes
    a, b = view_of(x, in_memory), view_of(y, in_memory)
    assert a is not None, f"{x} is not in memory"
    assert b is not None, f"{y} is not in memory"
    left = [axis for axis in range(x.ndim) if axis not in (*batch_a, *inner_a)]
    right = [axis for axis in range(y.ndim) if axis not in (*batch_b, *inner_b)]
    pairs = list(zip(inner_a, inner_b, strict=True))
    pairs.sort(key=lambda pair: -abs(b.strides[pair[1]]))  # the longest strides outside
    return Product(
        node,
        a,
        b,
        merged([(x.shape[i], a.strides[i], b.strides[j]) for i, j in zip(batch_a, batch_b, strict=True)]),
        merged([(x.shape[i], a.strides[i]) for i in left]),
        merged([(x.shape[i], a.strides[i], b.strides[j]) for i, j in pairs]),
        merged([(y.shape[j], b.strides[j]) for j in right]),
    )


def parts_of(node: OpenclArray) -> tuple[list[int], list[int], list[int]]:
    """Sizes of the axes of the batch, of the rows and of the columns."""
    x, y = node.sources
    batch_a, batch_b, inner_a, inner_b = node.attributes
    return (
        [x.shape[axis] for axis in batch_a],
        [x.shape[axis] for axis in range(x.ndim) if axis not in (*batch_a, *inner_a)],
        [y.shape[axis] for axis in range(y.ndim) if axis not in (*batch_b, *inner_b)],
    )
