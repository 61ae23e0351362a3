"""Pooling, with windows that slide and with windows that fit an output size."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from hal.torch.table.call import Call, pair, per_axis
from hal.torch.table.convolution import batched, channels_first, channels_last
from hal.torch.table.entries import op, unsupported
from hal.torch.table.shapes import sliced
from hal.types import Array

__all__: list[str] = []

Sizes = int | Sequence[int]


def _around(size: int, window: int, step: int, padding: int, spacing: int, ceil: bool) -> tuple[int, int]:
    """Rows before and after an axis; with ``ceil_mode`` more after it, where the last window begins inside."""
    reach = (window - 1) * spacing + 1
    if not ceil:
        return padding, padding
    count = -(-(size + 2 * padding - reach) // step) + 1
    if (count - 1) * step >= size + padding:
        count -= 1
    return padding, max((count - 1) * step + reach - size - padding, padding)


def _steps(window: tuple[int, int], stride: Sizes | None) -> tuple[int, int]:
    return window if stride is None or (not isinstance(stride, int) and not stride) else pair(stride)


def _one_row(value: Any, row: int) -> Any:
    """A size along time as that of images of one row."""
    if value is None or (not isinstance(value, int) and not value):
        return value
    return (row, value if isinstance(value, int) else value[0])


@op("max_pool2d")
def _max_pool2d(
    c: Call,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Array:
    x, single = batched(c, x, 4)
    window, spacing = pair(kernel_size), pair(dilation)
    step = _steps(window, stride)
    sizes = zip(x.shape[2:], window, step, pair(padding), spacing, strict=True)
    pads = tuple(_around(*size, ceil=ceil_mode) for size in sizes)
    y = c.xp.max_pool2d(channels_last(c, x), window, strides=step, padding=pads, dilation=spacing)
    y = channels_first(c, y)
    return c.xp.squeeze(y, axis=0) if single else y


@op("max_pool2d_with_indices")
def _max_pool2d_with_indices(c: Call, x: Array, kernel_size: Sizes, *args: Any, **kwargs: Any) -> tuple[Array, None]:
    return _max_pool2d(c, x, kernel_size, *args, **kwargs), None


@op("max_pool1d")
def _max_pool1d(
    c: Call,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Array:
    sizes = [_one_row(value, row) for value, row in ((kernel_size, 1), (stride, 1), (padding, 0), (dilation, 1))]
    window, step, pads, spacing = sizes
    y = _max_pool2d(c, c.xp.expand_dims(x, axis=-2), window, step, pads, spacing, ceil_mode)
    return c.xp.squeeze(y, axis=-2)


@op("avg_pool2d")
def _avg_pool2d(
    c: Call,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    x, single = batched(c, x, 4)
    window, given = pair(kernel_size), pair(padding)
    step = _steps(window, stride)
    sizes = zip(x.shape[2:], window, step, given, (1, 1), strict=True)
    pads = tuple(_around(*size, ceil=ceil_mode) for size in sizes)
    more = pads != tuple((size, size) for size in given)
    if more and count_include_pad and any(given):
        raise unsupported("avg_pool2d with ceil_mode=True and padding that counts; pass count_include_pad=False")
    counted = count_include_pad and not more
    y = c.xp.avg_pool2d(channels_last(c, x), window, strides=step, padding=pads, count_padding=counted)
    if divisor_override is not None:
        if (any(given) and not counted) or more:
            raise unsupported("avg_pool2d with divisor_override where padding does not count")
        y = c.xp.multiply(y, window[0] * window[1] / divisor_override)
    y = channels_first(c, y)
    return c.xp.squeeze(y, axis=0) if single else y


def _depths(
    c: Call, x: Array, window: Sequence[int], stride: Sizes | None, padding: Sizes, value: float
) -> list[Array]:
    """For each depth of a window, what it meets there in volumes (batch, channels, depth, height, width)."""
    step, before = per_axis(stride or window, 3)[0], per_axis(padding, 3)[0]
    if before:
        edge = c.xp.filled((*x.shape[:2], before, *x.shape[3:]), value, like=x)
        x = c.xp.concat([edge, x, edge], axis=2)
    count = (x.shape[2] - window[0]) // step + 1
    return [sliced(x, 2, depth, depth + (count - 1) * step + 1, step) for depth in range(window[0])]


def _as_images(c: Call, x: Array, pool: Callable[[Array], Array]) -> Array:
    """Pool each image of volumes."""
    batch, channels, depth, *size = x.shape
    y = pool(c.xp.reshape(x, (batch, channels * depth, *size)))
    return c.xp.reshape(y, (batch, channels, depth, *y.shape[2:]))


@op("avg_pool3d")
def _avg_pool3d(
    c: Call,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    if ceil_mode or divisor_override is not None or (not count_include_pad and per_axis(padding, 3)[0]):
        raise unsupported("avg_pool3d with ceil_mode, with a divisor, or with padding that does not count")
    x, single = batched(c, x, 5)
    window = per_axis(kernel_size, 3)
    found = _depths(c, x, window, stride, padding, 0.0)
    total = functools.reduce(c.xp.add, found)
    mean = total if len(found) == 1 else c.xp.divide(total, len(found))
    steps, pads = per_axis(stride or window, 3)[1:], per_axis(padding, 3)[1:]
    y = _as_images(c, mean, lambda i: _avg_pool2d(c, i, window[1:], steps, pads, False, count_include_pad))
    return c.xp.squeeze(y, axis=0) if single else y


@op("max_pool3d max_pool3d_with_indices")
def _max_pool3d(
    c: Call,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Any:
    if ceil_mode or per_axis(dilation, 3) != (1, 1, 1):
        raise unsupported("max_pool3d with ceil_mode or dilation")
    x, single = batched(c, x, 5)
    window = per_axis(kernel_size, 3)
    top = functools.reduce(c.xp.maximum, _depths(c, x, window, stride, padding, -float("inf")))
    steps, pads = per_axis(stride or window, 3)[1:], per_axis(padding, 3)[1:]
    y = _as_images(c, top, lambda i: _max_pool2d(c, i, window[1:], steps, pads))
    y = c.xp.squeeze(y, axis=0) if single else y
    return (y, None) if "indices" in c.node.op else y


@op("avg_pool1d")
def _avg_pool1d(
    c: Call,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    sizes = [_one_row(value, row) for value, row in ((kernel_size, 1), (stride, 1), (padding, 0))]
    window, step, pads = sizes
    y = _avg_pool2d(c, c.xp.expand_dims(x, axis=-2), window, step, pads, ceil_mode, count_include_pad)
    return c.xp.squeeze(y, axis=-2)


@op("adaptive_avg_pool2d _adaptive_avg_pool2d")
def _adaptive_avg_pool2d(c: Call, x: Array, output_size: Sizes) -> Array:
    return _adaptive(c, x, _wanted(x, output_size), c.xp.mean)


@op("adaptive_avg_pool1d")
def _adaptive_avg_pool1d(c: Call, x: Array, output_size: Sizes) -> Array:
    return _adaptive(c, x, _wanted(x, output_size), c.xp.mean)


@op("adaptive_max_pool2d")
def _adaptive_max_pool2d(c: Call, x: Array, output_size: Sizes) -> tuple[Array, None]:
    return _adaptive(c, x, _wanted(x, output_size), c.xp.max), None


@op("adaptive_max_pool1d")
def _adaptive_max_pool1d(c: Call, x: Array, output_size: Sizes) -> tuple[Array, None]:
    return _adaptive(c, x, _wanted(x, output_size), c.xp.max), None


@op("adaptive_max_pool3d")
def _adaptive_max_pool3d(c: Call, x: Array, output_size: Sizes) -> tuple[Array, None]:
    return _adaptive(c, x, _wanted(x, output_size), c.xp.max), None


@op("adaptive_avg_pool3d _adaptive_avg_pool3d")
def _adaptive_avg_pool3d(c: Call, x: Array, output_size: Sizes) -> Array:
    return _adaptive(c, x, _wanted(x, output_size), c.xp.mean)


def _wanted(x: Array, output_size: Any) -> tuple[int, ...]:
    """The sizes that a pooling is to give; PyTorch's None keeps that of the input."""
    sizes = (output_size,) if isinstance(output_size, int) else tuple(output_size)
    return tuple(x.shape[len(x.shape) - len(sizes) + at] if size is None else size for at, size in enumerate(sizes))


def _adaptive(c: Call, x: Array, wanted: tuple[int, ...], reduce: Any) -> Array:
    """Along each axis, window i reaches from floor(i * size / count) to ceil((i + 1) * size / count).

    A mean of means is the mean, for all windows along an axis hold whole lines of the others; a maximum too.
    """
    first = len(x.shape) - len(wanted)
    if all(count == 1 for count in wanted):
        return reduce(x, axis=tuple(range(first, len(x.shape))), keepdims=True)
    for axis, count in enumerate(wanted, first):
        size = x.shape[axis]
        if size == count:
            continue
        if size % count == 0:
            split = c.xp.reshape(x, (*x.shape[:axis], count, size // count, *x.shape[axis + 1 :]))
            x = reduce(split, axis=axis + 1)
            continue
        before = (slice(None),) * axis
        windows = [slice(part * size // count, -(-(part + 1) * size // count)) for part in range(count)]
        x = c.xp.stack([reduce(x[(*before, window, ...)], axis=axis) for window in windows], axis=axis)
    return x
