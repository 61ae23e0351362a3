"""Oracle and cases of :mod:`hal.tensor.ops.convolution`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from typing import Any

import numpy as np

from hal.contract.device import PRECISIONS
from hal.testing.case import Case, Wrong, floats
from hal.testing.ops.images import Size, pads_of, starts, two
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]


def _conv(
    label: str,
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    bias: bool = True,
    op: str = "conv2d",
    precisions: Any = PRECISIONS,
    **kwargs: Any,
) -> Case:
    out = kernel[3] if op == "conv2d" else kernel[3] * kwargs.get("groups", 1)
    args = (floats(*image), floats(*kernel, spread=0.5), floats(out) if bias else None)
    axes = ("NHWC", "HWIO" if op == "conv2d" else "HWIO_transpose")
    return Case(op, label, args, kwargs, axes=axes, precisions=precisions)


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
    ("numbers", (1, 3, 2, 2), (3, 4, 2, 3), {"strides": 2, "padding": ((1, 1), (1, 1)), "output_padding": (1, 0)}),
    (
        "numbers-uneven",
        (1, 3, 3, 2),
        (3, 3, 2, 2),
        {"strides": 2, "padding": ((2, 0), (0, 3)), "output_padding": 1, "precisions": ("fp32",)},
    ),
    (
        "groups-dilation",
        (1, 3, 2, 4),
        (2, 3, 4, 3),
        {"strides": (2, 1), "padding": ((1, 0), (2, 1)), "groups": 2, "dilation": 2, "precisions": ("fp32",)},
    ),
]
_CONV_TRANSPOSE = [
    _conv(label, image, kernel, op="conv2d_transpose", **kwargs) for label, image, kernel, kwargs in _TRANSPOSED
]

_SEQUENCES = [
    Case(
        "conv1d",
        label,
        (floats(*x), floats(*kernel, spread=0.5), floats(kernel[2])),
        kwargs,
        precisions=("fp32", "bf16"),
    )
    for label, x, kernel, kwargs in (
        ("same-stride2", (2, 6, 3), (4, 3, 2), {"strides": 2}),
        ("groups-dilation", (1, 7, 4), (2, 2, 6), {"padding": (1, 2), "dilation": 3, "groups": 2}),
    )
]

CASES = _CONV + _CONV_TRANSPOSE + _SEQUENCES

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
    ("conv2d_transpose", ((2, 5, 5, 3), (3, 3, 3, 2)), {"output_padding": 1}, "gives the size of the output"),
    ("conv2d_transpose", ((2, 1, 1, 3), (3, 3, 3, 2)), {"padding": ((2, 1), (0, 0))}, "cuts off all"),
    ("conv2d_transpose", ((2, 5, 5, 3), (3, 3, 3, 2)), {"groups": 2}, "input channels must be a multiple"),
    ("conv1d", ((2, 5), (3, 3, 4)), {}, "x must be (batch, time, channels)"),
    ("conv1d", ((2, 5, 3), (3, 3)), {}, "must be (time, in / groups, out)"),
    ("conv1d", ((2, 5, 3), (3, 3, 4)), {"padding": ((1, 1), (1, 1))}, "(before, after)"),
    ("conv1d", ((2, 2, 3), (3, 3, 4)), {"padding": "valid"}, "does not fit an axis of 2"),
)


class Oracle(Functions):
    """Windows that slide over images and sequences, by plain loops."""

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
        (sh, sw), (dh, dw) = two(strides), two(dilation)
        kh, kw, c_in, c_out = kernel.shape
        reach = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
        pads = pads_of(padding, x.shape[1:3], reach, (sh, sw))
        image = np.pad(x, ((0, 0), *pads, (0, 0)))
        rows, columns = [1 + (n - r) // s for n, r, s in zip(image.shape[1:3], reach, (sh, sw), strict=True)]
        y = np.zeros((x.shape[0], rows, columns, c_out))
        share = c_out // groups
        for i, top in starts(image.shape[1], reach[0], sh):
            for j, left in starts(image.shape[2], reach[1], sw):
                window = image[:, top : top + reach[0] : dh, left : left + reach[1] : dw, :]
                for g in range(groups):
                    outs = slice(g * share, (g + 1) * share)
                    part = window[..., g * c_in : (g + 1) * c_in]
                    y[:, i, j, outs] = np.tensordot(part, kernel[..., outs], axes=3)
        return y if bias is None else y + bias

    def conv1d(
        self,
        x: F64,
        kernel: F64,
        bias: F64 | None = None,
        *,
        strides: int = 1,
        padding: Any = "same",
        dilation: int = 1,
        groups: int = 1,
    ) -> F64:
        (reach,), steps = [(kernel.shape[0] - 1) * dilation + 1], (strides, strides)
        pads = pads_of(padding, (x.shape[1], 1), (reach, 1), steps)
        before, after = padding if pads is padding else pads[0]
        row = np.pad(x, ((0, 0), (before, after), (0, 0)))
        inner, share = kernel.shape[1], kernel.shape[2] // groups
        ys = []
        for _, start in starts(row.shape[1], reach, strides):
            window = row[:, start : start + reach : dilation, :]
            parts = [
                np.tensordot(window[..., g * inner : (g + 1) * inner], kernel[..., g * share : (g + 1) * share], axes=2)
                for g in range(groups)
            ]
            ys.append(np.concatenate(parts, axis=-1))
        y = np.stack(ys, axis=1)
        return y if bias is None else y + bias

    def conv2d_transpose(
        self,
        x: F64,
        kernel: F64,
        bias: F64 | None = None,
        *,
        strides: Size = 1,
        padding: Any = "same",
        output_padding: Size = 0,
        groups: int = 1,
        dilation: Size = 1,
    ) -> F64:
        """Each pixel adds its multiple of the kernel to the place that it came from."""
        (sh, sw), (dh, dw), more = two(strides), two(dilation), two(output_padding)
        kh, kw = ((k - 1) * d + 1 for k, d in zip(kernel.shape[:2], (dh, dw), strict=True))
        n, height, width, inner = x.shape
        share, out = inner // groups, kernel.shape[3]
        numbers = not isinstance(padding, str)
        extra = more if numbers else (max(sh - kh, 0), max(sw - kw, 0))
        full = np.zeros((n, (height - 1) * sh + kh + extra[0], (width - 1) * sw + kw + extra[1], groups * out))
        for i in range(height):
            for j in range(width):
                for g in range(groups):
                    part = x[:, i, j, g * share : (g + 1) * share], kernel[:, :, g * share : (g + 1) * share]
                    place = full[:, i * sh : i * sh + kh : dh, j * sw : j * sw + kw : dw, g * out : (g + 1) * out]
                    place += np.einsum("ni,hwio->nhwo", *part)
        if padding == "same":
            top, left = max(kh - sh, 0) // 2, max(kw - sw, 0) // 2
            full = full[:, top : top + height * sh, left : left + width * sw, :]
        elif numbers:
            (top, bottom), (left, right) = padding
            full = full[:, top : full.shape[1] - bottom, left : full.shape[2] - right, :]
        return full if bias is None else full + bias
