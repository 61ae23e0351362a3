"""Convolution. Tensors are (batch, channels, ...) in PyTorch, and hal's arrays have the channels last."""

from __future__ import annotations

from collections.abc import Sequence

from hal.torch.table.call import Call, pair, per_axis
from hal.torch.table.entries import op, unsupported
from hal.torch.table.shapes import sliced
from hal.types import Array

__all__ = ["batched", "channels_first", "channels_last"]

Sizes = int | Sequence[int]


def channels_last(c: Call, x: Array) -> Array:
    """(batch, channels, ...) as (batch, ..., channels)."""
    count = len(x.shape)
    return x if count < 3 else c.xp.permute_dims(x, (0, *range(2, count), 1))


def channels_first(c: Call, x: Array) -> Array:
    """(batch, ..., channels) as (batch, channels, ...)."""
    count = len(x.shape)
    return x if count < 3 else c.xp.permute_dims(x, (0, count - 1, *range(1, count - 1)))


def batched(c: Call, x: Array, axes: int) -> tuple[Array, bool]:
    """X with an axis for the batch, and whether PyTorch was given none."""
    return (c.xp.expand_dims(x, axis=0), True) if len(x.shape) < axes else (x, False)


def _around(padding: Sizes | str, window: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Rows before and after along each axis; ``same`` has the odd one after, as hal's has with a stride of 1."""
    if padding == "valid":
        return tuple((0, 0) for _ in window)
    if padding == "same":
        totals = [(size - 1) * spacing for size, spacing in zip(window, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise unsupported(f"a convolution with padding={padding!r}")
    return tuple((size, size) for size in per_axis(padding, len(window)))


@op("conv2d conv2d.padding")
def _conv2d(
    c: Call,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    x, single = batched(c, x, 4)
    spacing = pair(dilation)
    y = c.xp.conv2d(
        channels_last(c, x),
        c.xp.permute_dims(weight, (2, 3, 1, 0)),
        bias,
        strides=pair(stride),
        padding=_around(padding, weight.shape[2:], spacing),
        dilation=spacing,
        groups=groups,
    )
    y = channels_first(c, y)
    return c.xp.squeeze(y, axis=0) if single else y


@op("conv1d conv1d.padding")
def _conv1d(
    c: Call,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    x, single = batched(c, x, 3)
    spacing = per_axis(dilation, 1)
    y = c.xp.conv1d(
        channels_last(c, x),
        c.xp.permute_dims(weight, (2, 1, 0)),
        bias,
        strides=per_axis(stride, 1)[0],
        padding=_around(padding, weight.shape[2:], spacing)[0],
        dilation=spacing[0],
        groups=groups,
    )
    y = channels_first(c, y)
    return c.xp.squeeze(y, axis=0) if single else y


@op("conv3d conv3d.padding")
def _conv3d(
    c: Call,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """The sum, over the kernel's depth, of convolutions of the images in a volume."""
    x, single = batched(c, x, 5)
    strides, spacing = per_axis(stride, 3), per_axis(dilation, 3)
    pads = _around(padding, weight.shape[2:], spacing)
    volume = channels_last(c, x)
    volume = _zeros_around(c, volume, pads[0])
    reach = (weight.shape[2] - 1) * spacing[0] + 1
    depth = (volume.shape[1] - reach) // strides[0] + 1
    total = None
    for layer in range(weight.shape[2]):
        first = layer * spacing[0]
        images = sliced(volume, 1, first, first + (depth - 1) * strides[0] + 1, strides[0])
        y = c.xp.conv2d(
            c.xp.reshape(images, (-1, *images.shape[2:])),
            c.xp.permute_dims(weight[:, :, layer, ...], (2, 3, 1, 0)),
            bias if total is None else None,
            strides=strides[1:],
            padding=pads[1:],
            dilation=spacing[1:],
            groups=groups,
        )
        total = y if total is None else c.xp.add(total, y)
    shape = tuple(total.shape)  # type: ignore[union-attr]
    y = channels_first(c, c.xp.reshape(total, (x.shape[0], depth, *shape[1:])))
    return c.xp.squeeze(y, axis=0) if single else y


def _zeros_around(c: Call, x: Array, pads: tuple[int, int]) -> Array:
    """Zeros before and after along the first axis behind the batch."""
    edges = [c.xp.zeros_as((x.shape[0], count, *x.shape[2:]), like=x) if count else None for count in pads]
    parts = [part for part in (edges[0], x, edges[1]) if part is not None]
    return x if len(parts) == 1 else c.xp.concat(parts, axis=1)


@op("conv_transpose2d.input")
def _conv_transpose2d(
    c: Call,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Array:
    x, single = batched(c, x, 4)
    y = c.xp.conv2d_transpose(
        channels_last(c, x),
        c.xp.permute_dims(weight, (2, 3, 0, 1)),
        bias,
        strides=pair(stride),
        padding=tuple((size, size) for size in pair(padding)),
        output_padding=pair(output_padding),
        groups=groups,
        dilation=pair(dilation),
    )
    y = channels_first(c, y)
    return c.xp.squeeze(y, axis=0) if single else y


@op("conv_transpose1d")
def _conv_transpose1d(
    c: Call,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Array:
    """That of images of one row."""
    image, kernel = c.xp.expand_dims(x, axis=-2), c.xp.expand_dims(weight, axis=2)
    (step,), (pad,), (more,), (spacing,) = (per_axis(v, 1) for v in (stride, padding, output_padding, dilation))
    y = _conv_transpose2d(c, image, kernel, bias, (1, step), (0, pad), (0, more), groups, (1, spacing))
    return c.xp.squeeze(y, axis=-2)


@op("convolution _convolution")
def _convolution(
    c: Call,
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *_: bool,
) -> Array:
    count = len(weight.shape) - 2
    if not transposed:
        function = (_conv1d, _conv2d, _conv3d)[count - 1]
        return function(c, x, weight, bias, stride, padding, dilation, groups)
    if count > 2:
        raise unsupported("a transposed convolution of volumes")
    other = (_conv_transpose1d, _conv_transpose2d)[count - 1]
    return other(c, x, weight, bias, stride, padding, output_padding, groups, dilation)
