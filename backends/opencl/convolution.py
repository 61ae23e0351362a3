"""Convolutions as contractions of windows with kernels, pools as reductions of windows, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hal.backends._traced import dtypes
from hal.backends.opencl import primitives as p
from hal.backends.opencl.array import OpenclArray
from hal.tensor.shapes import Pads, Pair

__all__ = ["avg_pool", "convolve", "convolve_transposed", "max_pool"]

Array = OpenclArray


_NO_PADS = ((0, 0), (0, 0))


def convolve(x: Array, kernel: Array, strides: Pair, pads: Sequence[Pair], dilation: Pair, groups: int) -> Array:
    """A convolution: (n, h, w, c) with (kh, kw, c / groups, out)."""
    padded = _padded(x, pads)

    def derivative(gradient: Array) -> Sequence[Array | None]:
        of_x = of_kernel = None
        if x.tracked:
            of_x = _of_input(gradient, kernel, x.shape, strides, pads, dilation, groups)
        if kernel.tracked:
            of_kernel = _of_kernel(gradient, padded, kernel.shape, strides, dilation, groups)
        return of_x, of_kernel

    return p.custom(_forward(padded, kernel, strides, dilation, groups), (x, kernel), derivative)


def _padded(x: Array, pads: Sequence[Pair], between: Pair = (0, 0)) -> Array:
    """Images with zeros around and between their pixels; negative counts cut pixels off."""
    low, high = ([pair[side] for pair in pads] for side in (0, 1))
    x = p.pad(x, (0, *(max(n, 0) for n in low), 0), (0, *(max(n, 0) for n in high), 0), (0, *(n for n in between), 0))
    starts = [max(-n, 0) for n in low]
    sizes = [n - a + min(b, 0) for n, a, b in zip(x.shape[1:3], starts, high, strict=True)]
    return p.cut(x, (0, *starts, 0), (1, 1, 1, 1), (x.shape[0], *sizes, x.shape[3]))


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
    gradient: Array,
    kernel: Array,
    shape: tuple[int, ...],
    strides: Pair,
    pads: Sequence[Pair],
    dilation: Pair,
    groups: int,
) -> Array:
    """A convolution of the gradient with the kernel turned around, where the images are without their padding."""
    kh, kw, _, _ = kernel.shape
    starts = [low for low, _ in pads]
    if max(strides) > 1 and dilation == (1, 1) and groups == 1:
        exchanged = p.permute(kernel, (0, 1, 3, 2))
        return _spread_out(gradient, exchanged, shape[1:3], strides, starts, _forward_plain)
    reach = [(k - 1) * d for k, d in zip((kh, kw), dilation, strict=True)]
    sizes = [(n - 1) * s + 1 for n, s in zip(gradient.shape[1:3], strides, strict=True)]
    around = [(r - a, n - m + a) for r, a, n, m in zip(reach, starts, shape[1:3], sizes, strict=True)]
    spread = _padded(gradient, around, (strides[0] - 1, strides[1] - 1))
    turned = p.cut(kernel, (kh - 1, kw - 1, 0, 0), (-1, -1, 1, 1), kernel.shape)
    return _forward(spread, _exchanged(turned, groups), (1, 1), dilation, groups)


def _forward_plain(x: Array, kernel: Array, pads: Sequence[Pair]) -> Array:
    return _forward(_padded(x, pads), kernel, (1, 1), (1, 1), 1)


def _spread_out(
    x: Array,
    kernel: Array,
    extent: Sequence[int],
    strides: Pair,
    starts: Sequence[int],
    convolved: Callable[[Array, Array, Sequence[Pair]], Array],
) -> Array:
    """What each pixel of x adds to a larger image: the transpose of a convolution with strides.

    A pixel of the result is reached by every so many elements of the kernel only, and by which ones depends on its
    place between two strides. All these places are computed at once, as channels of one convolution without strides,
    which therefore multiplies by few zeros.

    Args:
        x: images (n, rows, columns, channels).
        kernel: (kh, kw, channels, out).
        extent: height and width of the result.
        strides: how far apart the pixels of x lie in it.
        starts: where the result begins.
        convolved: computes a convolution of images with a kernel and padding.
    """
    (kh, kw, channels, out), (sh, sw) = kernel.shape, strides
    # Zeros in front of the kernel move the result's beginning to that of a stride, if they fit into the same taps.
    shifts = [
        -start % s if (k - 1) % s + -start % s < s else 0 for k, s, start in zip((kh, kw), strides, starts, strict=True)
    ]
    starts = [start + shift for start, shift in zip(starts, shifts, strict=True)]
    taps = [-(-(k + shift) // s) for k, shift, s in zip((kh, kw), shifts, strides, strict=True)]
    after = [t * s - k - shift for t, k, shift, s in zip(taps, (kh, kw), shifts, strides, strict=True)]
    whole = p.pad(kernel, (*shifts, 0, 0), (*after, 0, 0))
    whole = p.reshape(whole, (taps[0], sh, taps[1], sw, channels, out))
    turned = p.cut(whole, (taps[0] - 1, 0, taps[1] - 1, 0, 0, 0), (-1, 1, -1, 1, 1, 1), whole.shape)
    phases = p.reshape(p.permute(turned, (0, 2, 4, 1, 3, 5)), (taps[0], taps[1], channels, sh * sw * out))
    firsts = [start // s for start, s in zip(starts, strides, strict=True)]
    lasts = [-(-(start + size) // s) for start, size, s in zip(starts, extent, strides, strict=True)]
    reach = [(t - 1 - a, b - n) for t, a, b, n in zip(taps, firsts, lasts, x.shape[1:3], strict=True)]
    rows, columns = (b - a for a, b in zip(firsts, lasts, strict=True))
    y = p.reshape(convolved(x, phases, reach), (x.shape[0], rows, columns, sh, sw, out))
    y = p.reshape(p.permute(y, (0, 1, 3, 2, 4, 5)), (x.shape[0], rows * sh, columns * sw, out))
    rest = [start - first * s for start, first, s in zip(starts, firsts, strides, strict=True)]
    return p.cut(y, (0, *rest, 0), (1, 1, 1, 1), (x.shape[0], *extent, out))


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
    if dilation == (1, 1) and groups == 1:
        sizes = [(n - 1) * s + k for n, s, k in zip(x.shape[1:3], strides, (kh, kw), strict=True)]
        (top, bottom), (left, right) = crop
        extent = (sizes[0] - top - bottom, sizes[1] - left - right)
        return _spread_out(x, kernel, extent, strides, (top, left), _convolved_plain)
    spread = p.pad(x, (0, *reach, 0), (0, *reach, 0), (0, strides[0] - 1, strides[1] - 1, 0))
    turned = p.cut(kernel, (kh - 1, kw - 1, 0, 0), (-1, -1, 1, 1), kernel.shape)
    split = p.permute(p.reshape(turned, (kh, kw, groups, channels // groups, out)), (0, 1, 3, 2, 4))
    y = convolve(
        spread, p.reshape(split, (kh, kw, channels // groups, groups * out)), (1, 1), _NO_PADS, dilation, groups
    )
    (top, bottom), (left, right) = crop
    n, height, width, made = y.shape
    return p.cut(y, (0, top, left, 0), (1, 1, 1, 1), (n, height - top - bottom, width - left - right, made))


def _convolved_plain(x: Array, kernel: Array, pads: Sequence[Pair]) -> Array:
    return convolve(x, kernel, (1, 1), pads, (1, 1), 1)


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
