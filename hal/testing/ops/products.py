"""Oracle and cases of :mod:`hal.tensor.ops.products`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from typing import Any

import numpy as np

from hal.contract.device import PRECISIONS
from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]


def _einsum(label: str, equation: str, *shapes: tuple[int, ...], precisions: Any = ("fp32",)) -> Case:
    args = (equation, *(floats(*shape, spread=0.5) for shape in shapes))
    return Case("einsum", label, args, precisions=precisions)


CASES = [
    _einsum("heads", "bthf,bshf->bhts", (2, 3, 2, 4), (2, 5, 2, 4), precisions=PRECISIONS),
    _einsum("three-with-dots", "...i, ij, kj", (2, 3, 4), (4, 2), (3, 2)),
    _einsum("sum", "ijk->ki", (2, 3, 4)),
]

_SQUARE: Any = ((2, 2), (2, 2))
WRONG_SHAPES: tuple[Wrong, ...] = (
    ("einsum", ("ij,jk->ik", *_SQUARE, (2, 2)), {}, "the equation names 2"),
    ("einsum", ("ij,jk->ik", (2, 3), (2, 3)), {}, "must have one size"),
    ("einsum", ("ii,ij->j", *_SQUARE), {}, "only once in 'ii'"),
    ("einsum", ("ij,jk->il", *_SQUARE), {}, "which no array has"),
    ("einsum", ("i,jk->k", *_SQUARE), {}, "each axis must have one letter"),
    ("einsum", ("i1,1k->k", *_SQUARE), {}, "consists of letters"),
)


class Oracle(Functions):
    """Sums of products."""

    def einsum(self, equation: str, *operands: F64) -> F64:
        return np.asarray(np.einsum(equation, *operands))
