"""Oracle and cases of :mod:`hal.tensor.ops.pooling`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hal.contract.device import PRECISIONS
from hal.testing.case import Case, Wrong, distinct
from hal.testing.ops.images import Size, pads_of, starts, two
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]


def _pool(
    op: str, label: str, image: tuple[int, ...], window: Any, precisions: Any = PRECISIONS, **kwargs: Any
) -> Case:
    return Case(op, label, (distinct(*image), window), kwargs, axes=("NHWC",), precisions=precisions)


_POOLS = [
    _pool(op, label, image, window, **kwargs)
    for op in ("max_pool2d", "avg_pool2d")
    for label, image, window, kwargs in (
        ("default", (2, 4, 6, 2), 2, {}),
        ("remainder", (1, 5, 7, 2), 2, {}),
        ("overlapping", (1, 5, 6, 2), 3, {"strides": (1, 2)}),
        ("gaps", (1, 7, 8, 2), (1, 2), {"strides": 3}),
        ("same", (1, 5, 6, 2), 3, {"strides": 2, "padding": "same"}),
        ("same-even", (1, 5, 4, 2), 2, {"strides": 1, "padding": "same"}),
        ("explicit", (1, 4, 5, 2), 3, {"strides": 2, "padding": ((1, 0), (0, 2))}),
        ("explicit-symmetric", (1, 4, 5, 2), 3, {"strides": 2, "padding": ((1, 1), (1, 1))}),
        ("global", (2, 3, 4, 3), (3, 4), {}),
        ("empty-batch", (0, 4, 4, 2), 2, {}),
    )
]
_OPTIONS = [
    _pool(
        "max_pool2d",
        "dilation",
        (1, 6, 5, 2),
        2,
        strides=(2, 1),
        dilation=(3, 2),
        padding=((1, 1), (0, 1)),
        precisions=("fp32",),
    ),
    _pool(
        "avg_pool2d",
        "count-padding",
        (1, 4, 5, 2),
        3,
        strides=2,
        padding=((1, 0), (1, 1)),
        count_padding=True,
        precisions=("fp32",),
    ),
]

CASES = _POOLS + _OPTIONS

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("max_pool2d", ((2, 5, 5),), {}, "x must be (batch, height, width, channels)"),
    ("max_pool2d", ((2, 1, 5, 3),), {}, "does not fit an axis of 1"),
    ("avg_pool2d", ((2, 5, 5, 3),), {"padding": ((2, 0), (0, 0))}, "without a value"),
    ("avg_pool2d", ((2, 5, 5, 3), (2, 2, 2)), {}, "window"),
    ("max_pool2d", ((2, 1, 3, 3),), {"dilation": 2, "padding": ((1, 1), (0, 0))}, "without a value"),
    ("max_pool2d", ((2, 5, 5, 3),), {"dilation": 0}, "dilation=0 is not allowed"),
)


class Oracle(Functions):
    """One number for each window that slides over images, by plain loops."""

    def max_pool2d(
        self,
        x: F64,
        window: Size = 2,
        *,
        strides: Size | None = None,
        padding: Any = "valid",
        dilation: Size = 1,
    ) -> F64:
        return self._pool(np.nanmax, x, window, strides, padding, np.nan, dilation)

    def avg_pool2d(
        self,
        x: F64,
        window: Size = 2,
        *,
        strides: Size | None = None,
        padding: Any = "valid",
        count_padding: bool = False,
    ) -> F64:
        return self._pool(np.nanmean, x, window, strides, padding, 0 if count_padding else np.nan)

    @staticmethod
    def _pool(
        reduce: Callable[..., F64],
        x: F64,
        window: Size,
        strides: Size | None,
        padding: Any,
        beyond: float,
        dilation: Size = 1,
    ) -> F64:
        step, (dh, dw) = two(window if strides is None else strides), two(dilation)
        size = ((two(window)[0] - 1) * dh + 1, (two(window)[1] - 1) * dw + 1)
        pads = pads_of(padding, x.shape[1:3], size, step)
        image = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=beyond)
        rows = []
        for _, top in starts(image.shape[1], size[0], step[0]):
            row = [
                reduce(image[:, top : top + size[0] : dh, left : left + size[1] : dw, :], axis=(1, 2))
                for _, left in starts(image.shape[2], size[1], step[1])
            ]
            rows.append(np.stack(row, axis=1))
        return np.stack(rows, axis=1)
