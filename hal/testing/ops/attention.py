"""Oracle and cases of :mod:`hal.tensor.ops.attention`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hal.contract.device import PRECISIONS
from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]


def _attention(
    label: str, time: int, source: int, *, heads: int = 2, precisions: Any = PRECISIONS, **kwargs: Any
) -> Case:
    shapes = ((2, heads, time, 3), (2, 2, source, 3), (2, 2, source, 4))
    args = tuple(floats(*shape, spread=0.5) for shape in shapes)
    return Case("attention", label, args, kwargs, precisions=precisions)


def _added(label: str, *mask: int) -> Case:
    """With a mask of numbers, of which a gradient is taken too."""
    shapes = ((2, 2, 3, 3), (2, 2, 5, 3), (2, 2, 5, 4))

    def call(namespace: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        return namespace.attention(query, key, value, mask=mask)

    args = (*(floats(*shape, spread=0.5) for shape in shapes), floats(*mask))
    return Case("attention", label, args, call=call)


def _mask(*shape: int) -> np.ndarray:
    mask = np.asarray(np.random.default_rng(7).random(shape) > 0.4)
    mask[..., 0] = True  # every query may look somewhere
    return mask


CASES = [
    _attention("full", 3, 5),
    _attention("causal", 4, 4, causal=True),
    _attention("causal-longer-source", 3, 5, causal=True),
    _attention("mask", 3, 5, mask=_mask(2, 2, 3, 5)),
    _attention("mask-broadcast", 3, 5, mask=_mask(2, 1, 1, 5)),
    _attention("one-step", 1, 1),
    _attention("mask-of-sources", 3, 5, mask=_mask(5), precisions=("fp32",)),
    _attention("grouped-scale", 3, 5, heads=4, mask=_mask(2, 4, 3, 5), scale=0.75),
    _added("mask-added", 2, 1, 3, 5),
]

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("attention", ((1, 1, 2, 3), (1, 1, 2, 4), (1, 1, 2, 3)), {}, "must have equal features"),
    ("attention", ((1, 2, 3), (1, 2, 3), (1, 2, 3)), {}, "must be (batch, heads, time, features)"),
    ("attention", ((1, 3, 2, 3), (1, 2, 2, 3), (1, 2, 2, 3)), {}, "must be a multiple"),
    ("attention", ((2, 1, 2, 3), (1, 1, 2, 3), (1, 1, 2, 3)), {}, "one batch size"),
    ("attention", ((1, 1, 2, 3),) * 3, {"dropout": 1.0}, "at least 0 and less than 1"),
)


class Oracle(Functions):
    """Every query against every key."""

    def attention(
        self,
        query: F64,
        key: F64,
        value: F64,
        *,
        mask: NDArray[Any] | None = None,
        causal: bool = False,
        scale: float | None = None,
    ) -> F64:
        key, value = (np.repeat(x, query.shape[1] // key.shape[1], axis=1) for x in (key, value))
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = np.einsum("bhtf,bhsf->bhts", query, key) * factor
        for t in range(scores.shape[2]):
            if causal:
                scores[:, :, t, t + 1 :] = -np.inf
        if mask is not None and mask.dtype == bool:
            scores = np.where(np.broadcast_to(mask, scores.shape), scores, -np.inf)
        elif mask is not None:
            scores = scores + mask
        return np.asarray(np.einsum("bhts,bhsf->bhtf", self.softmax(scores), value))
