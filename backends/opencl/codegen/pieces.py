"""Into how many pieces long sums are cut, so that enough of them run side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hal.backends.opencl.codegen.kernel import Facts

__all__ = ["enough_rows", "product_pieces", "sum_pieces"]

_LONG_SUM = 1 << 15
_LONG_PRODUCT = 1 << 11
_GROUPS_OF_A_UNIT = 2
_GROUPS_OF_A_CORE = 4
_MOST_PARTIAL_BYTES = 1 << 24


def enough_rows(facts: Facts, rows: int, size: int) -> bool:
    """Whether a device has work for all of its units if each row of an array of some size is computed by one item."""
    return size < _LONG_SUM or rows >= _side_by_side(facts)


def _side_by_side(facts: Facts) -> int:
    return 4 * facts.units if facts.cpu else 256 * facts.units


def sum_pieces(facts: Facts, shape: Sequence[int], axes: Sequence[int]) -> tuple[int, int] | None:
    """An axis to cut and into how many pieces; None: the sum is short, or has enough results as it is."""
    size = math.prod(shape)
    results = size // math.prod(shape[axis] for axis in axes)
    if facts.cpu and shape and len(shape) - 1 not in axes:
        results //= min(shape[-1], 128)  # neighboring columns are summed together
    if enough_rows(facts, results, size):
        return None
    wanted = min(-(-_side_by_side(facts) // max(results, 1)) * 4, 256)
    for axis in axes:
        count = _divisor(shape[axis], wanted)
        if count >= 4:
            return axis, count
    return None


def product_pieces(facts: Facts, axis: int, depth: int, results: int, *, results_of_a_group: int) -> int:
    """Into how many pieces the first axis of a product's sums is cut; 0: it stays whole.

    Args:
        facts: of the device.
        axis: size of that axis.
        depth: how many products are added up.
        results: how many results there are.
        results_of_a_group: how many of them a work-group computes, at least.
    """
    if results == 0:
        return 0
    if depth < _LONG_PRODUCT:
        return 0
    groups = (_GROUPS_OF_A_CORE if facts.cpu else _GROUPS_OF_A_UNIT) * facts.units
    wanted = groups * results_of_a_group // results
    count = _divisor_from(axis, min(wanted, axis))
    return count if count >= 2 and results * count * 4 <= _MOST_PARTIAL_BYTES else 0


def _divisor(size: int, most: int) -> int:
    """The largest divisor of a size that is at most a number."""
    return next((n for n in range(min(most, size), 0, -1) if size % n == 0), 1)


def _divisor_from(size: int, least: int) -> int:
    """The smallest divisor of a size that is at least a number."""
    return next((n for n in range(max(least, 1), size + 1) if size % n == 0), 1)
