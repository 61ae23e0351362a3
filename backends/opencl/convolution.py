"""Convolutions as contractions of windows with kernels, pools as reductions of windows, and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence

from hal.backends._traced import dtypes
from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.tensor.shapes import Pads, Pair

__all__ = ["avg_pool", "convolve", "convolve_transposed", "max_pool"]

Array = OpenclArray


def convolve(x: Array, kernel: Array, strides: Pair, dilation: Pair, groups: int) -> Array:
    """A convolution without padding: (n, h, w, c) with (kh, kw, c / groups, out)."""
    inputs = (x, kernel)

    def derivative(gradient: Array) -> Sequence[Array | None]:
        of_x = of_kernel = None
        if x.tracked:
            of_x = _of_input(gradient, kernel, x.shape, strides, dilation, groups)
        if kernel.tracked:
            of_kernel = _of_kernel(gradient, x, kernel.shape, strides, dilation, groups)
        return of_x, of_kernel

    return p.custom(_forward(x, kernel, strides, dilation, groups), inputs, derivative)


def _forward(x: Array, kernel: Array, strides: Pair, dilation: Pair, groups: int) -> Array:
    kh, kw, inner, out = kernel.shape
    seen = p.windows(x, (kh, kw), strides, dilation)
    if groups == 1:
        return p.contract(seen, kernel, ((), ()), ((2, 4, 5), (0, 1, 2)))
    n, rows, _, columns, _, _ = seen.shape
    split = p.reshape(seen, (n, rows, kh, columns, kw, groups, inner))
    kernels = p.reshape(kernel, (kh, kw, inner, groups, out // groups))
    y = p.contract(split, kernels, ((5,), (3,)), ((2, 4, 6), (0, 1, 2)))  # (groups, n, rows, columns, out)
    return p.reshape(p.permute(y, (1, 2, 3, 0, 4)), (n, rows, columns, out))


def _of_input(
    gradient: Array, kernel: Array, shape: tuple[int, ...], strides: Pair, dilation: Pair, groups: int
) -> Array:
    """A convolution of the gradient, with zeros between and around its pixels, with the kernel turned around."""
    kh, kw, _, _ = kernel.shape
    reach = [(k - 1) * d for k, d in zip((kh, kw), dilation, strict=True)]
    sizes = [(n - 1) * s + 1 for n, s in zip(gradient.shape[1:3], strides, strict=True)]
    after = [n - m for n, m in zip(shape[1:3], sizes, strict=True)]
    spread = p.pad(gradient, (0, *reach, 0), (0, *after, 0), (0, strides[0] - 1, strides[1] - 1, 0))
    turned = p.cut(kernel, (kh - 1, kw - 1, 0, 0), (-1, -1, 1, 1), kernel.shape)
    return _forward(spread, _exchanged(turned, groups), (1, 1), dilation, groups)


def _exchanged(kernel: Array, groups: int) -> Array:
    """(kh, kw, in / groups, out) to (kh, kw, out / groups, in)."""
    kh, kw, inner, out = kernel.shape
    split = p.permute(p.reshape(kernel, (kh, kw, inner, groups, out // groups)), (0, 1, 4, 3, 2))
    return p.reshape(split, (kh, kw, out // groups, groups * inner))


def _of_kernel(gradient: Array, x: Array, shape: tuple[int, ...], strides: Pair, dilation: Pair, groups: int) -> Array:
    """A sum of products over all images and places."""
    kh, kw, inner, out = shape
    seen = p.windows(x, (kh, kw), strides, dilation)
    if groups == 1:
        return p.contract(seen, gradient, ((), ()), ((0, 1, 3), (0, 1, 2)))
    n, rows, _, columns, _, _ = seen.shape
    split = p.reshape(seen, (n, rows, kh, columns, kw, groups, inner))
    parts = p.reshape(gradient, (n, rows, columns, groups, out // groups))
    made = p.contract(split, parts, ((5,), (3,)), ((0, 1, 3), (0, 1, 2)))  # (groups, kh, kw, inner, out)
    return p.reshape(p.permute(made, (1, 2, 3, 0, 4)), shape)


def convolve_transposed(x: Array, kernel: Array, strides: Pair, crop: Pads, dilation: Pair, groups: int) -> Array:
    """The gradient of a convolution with respect to its input: (n, h, w, c) with (kh, kw, c, out / groups).

    Args:
        x: images.
        kernel: kernels.
        strides: zeros are put between pixels so that they are so far apart.
        crop: what is cut off at each side.
        dilation: spacing of the kernel's elements.
        groups: of channels.
    """
    kh, kw, channels, out = kernel.shape
    reach = [(k - 1) * d for k, d in zip((kh, kw), dilation, strict=True)]
    spread = p.pad(x, (0, *reach, 0), (0, *reach, 0), (0, strides[0] - 1, strides[1] - 1, 0))
    turned = p.cut(kernel, (kh - 1, kw - 1, 0, 0), (-1, -1, 1, 1), kernel.shape)
    split = p.permute(p.reshape(turned, (kh, kw, groups, channels // groups, out)), (0, 1, 3, 2, 4))
    y = convolve(spread, p.reshape(split, (kh, kw, channels // groups, groups * out)), (1, 1), dilation, groups)
    (top, bottom), (left, right) = crop
    n, height, width, made = y.shape
    return p.cut(y, (0, top, left, 0), (1, 1, 1, 1), (n, height - top - bottom, width - left - right, made))


def max_pool(x: Array, window: Pair, strides: Pair, dilation: Pair) -> Array:
    """The largest value of each window; the first of several gets the gradient."""
    seen = p.windows(p.detach(x), window, strides, dilation)
    n, rows, kh, columns, kw, channels = seen.shape

    def derivative(gradient: Array) -> Sequence[Array | None]:
        first = p.cast(p.reduce("argmax", seen, (2, 4)), dtypes.int32)
        places = p.reshape(p.iota(x.runtime, kh * kw, dtypes.int32), (1, 1, kh, 1, kw, 1))
        hit = p.expand(first, seen.shape) == p.broadcast(places, seen.shape)
        each = p.expand(p.reshape(gradient, (n, rows, 1, columns, 1, channels)), seen.shape)
        chosen = p.elementwise("where", hit, each, 0.0)
        if window == strides and dilation == (1, 1):  # each pixel is in one window at most
            whole = p.reshape(chosen, (n, rows * kh, columns * kw, channels))
            return (p.pad(whole, (0, 0, 0, 0), (0, x.shape[1] - rows * kh, x.shape[2] - columns * kw, 0)),)
        total = p.reduce("sum", p.unwindows(chosen, (x.shape[1], x.shape[2]), strides, dilation), (2, 4))
        return (p.reshape(total, x.shape),)

    y = p.reshape(p.reduce("max", seen, (2, 4)), (n, rows, columns, channels))
    return p.custom(y, (x,), derivative)


def avg_pool(x: Array, window: Pair, strides: Pair) -> Array:
    """The sum over each window."""
    seen = p.windows(x, window, strides, (1, 1))
    n, rows, _, columns, _, channels = seen.shape
    return p.reshape(p.reduce("sum", seen, (2, 4)), (n, rows, columns, channels))
