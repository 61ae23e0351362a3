"""Oracle and cases of :mod:`hal.tensor.ops.images`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hal.testing.case import Case, Wrong, distinct, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]

Size = int | tuple[int, int]


def _conv(
    label: str, image: tuple[int, ...], kernel: tuple[int, ...], bias: bool = True, op: str = "conv2d", **kwargs: Any
) -> Case:
    args = (floats(*image), floats(*kernel, spread=0.5), floats(kernel[3]) if bias else None)
    axes = ("NHWC", "HWIO" if op == "conv2d" else "HWIO_transpose")
    return Case(op, label, args, kwargs, axes=axes)


def _pool(op: str, label: str, image: tuple[int, ...], window: Any, **kwargs: Any) -> Case:
    return Case(op, label, (distinct(*image), window), kwargs, axes=("NHWC",))


_CONV = [
    _conv("same", (2, 5, 6, 3), (3, 3, 3, 4)),
    _conv("without-bias", (2, 5, 6, 3), (3, 3, 3, 4), bias=False),
    _conv("valid", (2, 5, 6, 3), (3, 2, 3, 4), padding="valid"),
    _conv("same-stride2-even", (1, 6, 8, 2), (3, 3, 2, 3), strides=2),
    _conv("same-stride2-odd", (1, 7, 5, 2), (3, 3, 2, 3), strides=2),
    _conv("same-stride3-1", (1, 7, 5, 2), (4, 2, 2, 3), strides=(3, 1)),
    _conv("same-stride-above-window", (1, 7, 6, 2), (2, 1, 2, 3), strides=3),
    _conv("same-even-window", (1, 5, 4, 2), (2, 4, 2, 3)),
    _conv("explicit", (1, 4, 5, 2), (3, 3, 2, 3), padding=((1, 0), (2, 1))),
    _conv("explicit-symmetric", (1, 4, 5, 2), (3, 3, 2, 3), padding=((2, 2), (1, 1)), strides=2),
    _conv("dilation", (1, 7, 8, 2), (3, 2, 2, 3), dilation=2),
    _conv("dilation-stride-valid", (1, 8, 7, 2), (2, 3, 2, 3), dilation=(3, 1), strides=2, padding="valid"),
    _conv("groups", (2, 4, 5, 4), (3, 3, 2, 6), groups=2),
    _conv("depthwise", (1, 5, 5, 4), (3, 3, 1, 8), groups=4, strides=2),
    _conv("pointwise", (2, 3, 3, 4), (1, 1, 4, 3)),
    _conv("pointwise-stride2", (1, 5, 5, 2), (1, 1, 2, 3), strides=2),
    _conv("one-pixel", (1, 1, 1, 2), (3, 3, 2, 2)),
    _conv("one-channel", (2, 4, 4, 1), (3, 3, 1, 1)),
    _conv("window-as-large", (1, 3, 4, 2), (3, 4, 2, 2), padding="valid"),
    _conv("empty-batch", (0, 4, 4, 2), (3, 3, 2, 3)),
]

_TRANSPOSED: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("same-stride2", (2, 3, 4, 2), (4, 4, 2, 3), {"strides": 2}),
    ("same-stride2-odd", (1, 3, 4, 2), (3, 3, 2, 3), {"strides": 2}),
    ("same-stride2-5", (1, 3, 3, 2), (5, 5, 2, 2), {"strides": 2}),
    ("same-stride1", (1, 3, 4, 2), (3, 3, 2, 3), {}),
    ("same-stride3-window2", (1, 3, 2, 2), (2, 2, 2, 3), {"strides": 3}),
    ("valid", (1, 3, 4, 2), (3, 2, 2, 3), {"padding": "valid"}),
    ("valid-stride2", (1, 3, 4, 2), (3, 3, 2, 3), {"strides": 2, "padding": "valid"}),
    ("valid-stride3-2", (1, 2, 3, 2), (2, 5, 2, 3), {"strides": (3, 2), "padding": "valid"}),
    ("without-bias", (1, 3, 4, 2), (3, 3, 2, 3), {"bias": False, "strides": 2}),
    ("one-pixel", (1, 1, 1, 3), (4, 4, 3, 2), {"strides": 4}),
    ("empty-batch", (0, 3, 3, 2), (3, 3, 2, 3), {"strides": 2}),
]
_CONV_TRANSPOSE = [
    _conv(label, image, kernel, op="conv2d_transpose", **kwargs) for label, image, kernel, kwargs in _TRANSPOSED
]

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

_MOVED = [
    Case("translate2d", label, (floats(*shape), np.array(rows, dtype), np.array(columns, dtype)), axes=("NHWC",))
    for label, shape, rows, columns, dtype in (
        ("both-ways", (4, 5, 6, 2), (0, 1, -2, 3), (0, -1, 2, 5), np.int64),
        ("outside", (3, 4, 3, 1), (4, -9, 0), (0, 0, 7), np.int64),
        ("int32", (2, 3, 4, 3), (1, -1), (-1, 2), np.int32),
        ("one-pixel", (2, 1, 1, 2), (0, 1), (0, 0), np.int64),
        ("empty-batch", (0, 4, 4, 1), (), (), np.int64),
    )
]

CASES = _CONV + _CONV_TRANSPOSE + _POOLS + _MOVED

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("conv2d", ((2, 5, 5), (3, 3, 1, 1)), {}, "x must be (batch, height, width, channels)"),
    ("conv2d", ((2, 5, 5, 3), (3, 3, 3)), {}, "must be (height, width, in / groups, out)"),
    ("conv2d", ((2, 5, 5, 3), (3, 3, 4, 2)), {}, "takes 4"),
    ("conv2d", ((2, 5, 5, 4), (3, 3, 2, 3)), {"groups": 2}, "multiple of groups"),
    ("conv2d", ((2, 5, 5, 3), (3, 3, 3, 4), (3,)), {}, "must be (4,)"),
    ("conv2d", ((2, 2, 2, 3), (3, 3, 3, 4)), {"padding": "valid"}, "does not fit an axis of 2"),
    ("conv2d", ((2, 5, 5, 3), (3, 3, 3, 4)), {"strides": 0}, "strides=0 is not allowed; use a positive number"),
    ("conv2d", ((2, 5, 5, 3), (3, 3, 3, 4)), {"padding": "full"}, "use 'same', 'valid'"),
    ("conv2d", ((2, 5, 5, 3), (3, 3, 3, 4)), {"padding": ((0, -1), (0, 0))}, "use 'same', 'valid'"),
    ("conv2d_transpose", ((2, 5, 5, 3), (3, 3, 4, 2)), {}, "takes 4"),
    ("conv2d_transpose", ((2, 5, 5, 3), (3, 3, 3, 2)), {"padding": ((1, 1), (1, 1))}, "use 'same' or 'valid'"),
    ("max_pool2d", ((2, 5, 5),), {}, "x must be (batch, height, width, channels)"),
    ("max_pool2d", ((2, 1, 5, 3),), {}, "does not fit an axis of 1"),
    ("avg_pool2d", ((2, 5, 5, 3),), {"padding": ((2, 0), (0, 0))}, "without a value"),
    ("avg_pool2d", ((2, 5, 5, 3), (2, 2, 2)), {}, "window"),
    ("translate2d", ((2, 5, 5), (2,), (2,)), {}, "x must be (batch, height, width, channels)"),
    ("translate2d", ((2, 5, 5, 3), (2,), (3,)), {}, "columns of shape (3,)"),
)


def _two(value: Size) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _padding(padding: Any, size: Size, reach: tuple[int, int], strides: tuple[int, int]) -> Any:
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding != "same":
        return padding
    pads = []
    for n, r, s in zip(_two(size), reach, strides, strict=True):
        outputs = math.ceil(n / s)
        missing = max(0, (outputs - 1) * s + r - n)
        pads.append((missing // 2, math.ceil(missing / 2)))
    return tuple(pads)


def _positions(n: int, reach: int, stride: int) -> Iterator[tuple[int, int]]:
    return enumerate(range(0, n - reach + 1, stride))


class Oracle(Functions):
    """Windows that slide over images, by plain loops."""

    def conv2d(
        self,
        x: F64,
        kernel: F64,
        bias: F64 | None = None,
        *,
        strides: Size = 1,
        padding: Any = "same",
        dilation: Size = 1,
        groups: int = 1,
    ) -> F64:
        (sh, sw), (dh, dw) = _two(strides), _two(dilation)
        kh, kw, c_in, c_out = kernel.shape
        reach = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
        pads = _padding(padding, x.shape[1:3], reach, (sh, sw))
        image = np.pad(x, ((0, 0), *pads, (0, 0)))
        rows, columns = [1 + (n - r) // s for n, r, s in zip(image.shape[1:3], reach, (sh, sw), strict=True)]
        y = np.zeros((x.shape[0], rows, columns, c_out))
        share = c_out // groups
        for i, top in _positions(image.shape[1], reach[0], sh):
            for j, left in _positions(image.shape[2], reach[1], sw):
                window = image[:, top : top + reach[0] : dh, left : left + reach[1] : dw, :]
                for g in range(groups):
                    outs = slice(g * share, (g + 1) * share)
                    part = window[..., g * c_in : (g + 1) * c_in]
                    y[:, i, j, outs] = np.tensordot(part, kernel[..., outs], axes=3)
        return y if bias is None else y + bias

    def conv2d_transpose(
        self, x: F64, kernel: F64, bias: F64 | None = None, *, strides: Size = 1, padding: str = "same"
    ) -> F64:
        """Each pixel adds its multiple of the kernel to the place that it came from."""
        (sh, sw), (kh, kw) = _two(strides), kernel.shape[:2]
        n, height, width, _ = x.shape
        full = np.zeros((n, height * sh + max(kh - sh, 0), width * sw + max(kw - sw, 0), kernel.shape[3]))
        for i in range(height):
            for j in range(width):
                full[:, i * sh : i * sh + kh, j * sw : j * sw + kw, :] += np.einsum("ni,hwio->nhwo", x[:, i, j], kernel)
        if padding == "same":
            top, left = max(kh - sh, 0) // 2, max(kw - sw, 0) // 2
            full = full[:, top : top + height * sh, left : left + width * sw, :]
        return full if bias is None else full + bias

    def max_pool2d(self, x: F64, window: Size = 2, *, strides: Size | None = None, padding: Any = "valid") -> F64:
        return self._pool(np.nanmax, x, window, strides, padding)

    def avg_pool2d(self, x: F64, window: Size = 2, *, strides: Size | None = None, padding: Any = "valid") -> F64:
        return self._pool(np.nanmean, x, window, strides, padding)

    @staticmethod
    def _pool(reduce: Callable[..., F64], x: F64, window: Size, strides: Size | None, padding: Any) -> F64:
        size, step = _two(window), _two(window if strides is None else strides)
        pads = _padding(padding, x.shape[1:3], size, step)
        image = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=np.nan)
        rows = []
        for _, top in _positions(image.shape[1], size[0], step[0]):
            row = [
                reduce(image[:, top : top + size[0], left : left + size[1], :], axis=(1, 2))
                for _, left in _positions(image.shape[2], size[1], step[1])
            ]
            rows.append(np.stack(row, axis=1))
        return np.stack(rows, axis=1)

    def translate2d(self, x: F64, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]]) -> F64:
        y = np.zeros_like(x)
        for n, i, j in np.ndindex(*x.shape[:3]):
            row, column = i + rows[n], j + columns[n]
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                y[n, row, column] = x[n, i, j]
        return y
