"""Shape arithmetic and checks of the ops, done once for all backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from hal.errors import ShapeError

__all__ = [
    "Padding",
    "Padding1d",
    "Pads",
    "Pair",
    "Size",
    "axis_of",
    "broadcasts",
    "check_conv1d",
    "check_conv2d",
    "check_conv2d_transpose",
    "check_images",
    "conv_output",
    "indexed",
    "pads_of",
    "pads_of_axis",
    "pair",
    "positive",
    "reach",
    "transpose_pads",
]

Pair: TypeAlias = tuple[int, int]
"""(height, width)."""
Size: TypeAlias = int | Pair
"""One number for both axes of an image, or (height, width)."""
Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right))."""
Padding: TypeAlias = Literal["same", "valid"] | Pads
Padding1d: TypeAlias = Literal["same", "valid"] | tuple[int, int]


def pair(value: Size, name: str, least: int = 1) -> tuple[int, int]:
    """A size for both axes of an image.

    Args:
        value: one number or (height, width).
        name: for the message.
        least: 1, or 0 where a size may be zero.

    Raises:
        ShapeError: it is not one or two numbers of at least that.
    """
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or any(not isinstance(v, int) or v < least for v in both):
        allowed = "a positive number" if least else "a number that is not negative"
        raise ShapeError(f"{name}={value!r} is not allowed; use {allowed}, or two of them: (height, width)")
    return both


def positive(value: int, name: str) -> int:
    """A size for the one axis of a sequence.

    Raises:
        ShapeError: it is not a positive number.
    """
    if not isinstance(value, int) or value < 1:
        raise ShapeError(f"{name}={value!r} is not allowed; use a positive number")
    return value


def reach(window: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns a window spans."""
    return ((window[0] - 1) * dilation[0] + 1, (window[1] - 1) * dilation[1] + 1)


def pads_of(
    padding: Padding,
    size: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
) -> Pads:
    """Explicit padding of a convolution or pooling over an image of (height, width).

    ``same`` gives ceil(size / stride) outputs with the odd row or column at the end, as in Keras and JAX.

    Raises:
        ShapeError: padding is neither ``same``, ``valid`` nor two pairs of numbers that are not negative.
    """
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "same":
        pads = [_same(*each) for each in zip(size, window, strides, dilation, strict=True)]
        return (pads[0], pads[1])
    return _in_numbers(padding)


def pads_of_axis(padding: Padding1d, size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """The same for the one axis of a sequence: (before, after).

    Raises:
        ShapeError: padding is neither ``same``, ``valid`` nor two numbers that are not negative.
    """
    if padding == "valid":
        return (0, 0)
    if padding == "same":
        return _same(size, window, stride, dilation)
    try:
        before, after = padding
        valid = min(before, after) >= 0
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ShapeError(
            f"padding={padding!r} is not allowed; use 'same', 'valid' or (before, after), neither negative"
        )
    return (before, after)


def _same(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return (total // 2, total - total // 2)


def _in_numbers(padding: Any) -> Pads:
    try:
        (top, bottom), (left, right) = padding
        valid = min(top, bottom, left, right) >= 0
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ShapeError(
            f"padding={padding!r} is not allowed; use 'same', 'valid' or ((top, bottom), (left, right)), none negative"
        )
    return ((top, bottom), (left, right))


def conv_output(
    size: tuple[int, ...], window: tuple[int, int], strides: tuple[int, int], pads: Pads, dilation: tuple[int, int]
) -> tuple[int, int]:
    """Output (height, width) of a convolution or pooling.

    Raises:
        ShapeError: the window is larger than the padded image.
    """
    out = []
    for n, k, s, (before, after), d in zip(size, window, strides, pads, dilation, strict=True):
        reach = (k - 1) * d + 1
        if n + before + after < reach:
            raise ShapeError(
                f"a window of {reach} (with dilation) does not fit an axis of {n} padded to {n + before + after}; "
                "use padding='same', a larger image or a smaller window"
            )
        out.append((n + before + after - reach) // s + 1)
    return (out[0], out[1])


def transpose_pads(
    padding: Padding,
    size: tuple[int, ...],
    reach: tuple[int, int],
    strides: tuple[int, int],
    more: tuple[int, int] = (0, 0),
) -> tuple[Pads, Pads]:
    """What a transposed convolution of an image of (height, width) crops and appends.

    The full output has (n - 1) * stride + reach rows. ``same`` keeps n * stride of them, those that the gradient of
    a strided ``same`` convolution has (Keras, JAX); ``valid`` keeps max(n * stride, full). Numbers are cut off the full
    output, whose end then gets ``more`` rows: those that were cut off, and zeros where there were none.

    Returns:
        crop and append, each ((top, bottom), (left, right)).

    Raises:
        ShapeError: padding is not one that :func:`pads_of` takes or leaves nothing, or ``more`` is given with ``same``
            or ``valid``.
    """
    if padding in ("same", "valid"):
        if more != (0, 0):
            raise ShapeError(
                f"output_padding={more} is not allowed with padding={padding!r}, which gives the size of the output; "
                "use padding=((top, bottom), (left, right))"
            )
        crop, append = [], []
        for r, s in zip(reach, strides, strict=True):
            total = max(r - s, 0) if padding == "same" else 0
            crop.append((total // 2, total - total // 2))
            append.append((0, max(s - r, 0)))
        return (crop[0], crop[1]), (append[0], append[1])
    crop, append = [], []
    for n, r, s, (before, after), extra in zip(size, reach, strides, _in_numbers(padding), more, strict=True):
        full = (n - 1) * s + r
        if before + max(after - extra, 0) >= full:
            raise ShapeError(
                f"padding={padding!r} of a transposed convolution cuts off all of an axis of {full}; use less of it"
            )
        crop.append((before, max(after - extra, 0)))
        append.append((0, max(extra - after, 0)))
    return (crop[0], crop[1]), (append[0], append[1])


def check_images(op: str, x: tuple[int, ...]) -> None:
    """Check that an argument is a batch of images.

    Raises:
        ShapeError: it does not have four axes.
    """
    if len(x) != 4:
        raise ShapeError(f"{op} was given x of shape {tuple(x)}, but x must be (batch, height, width, channels)")


def check_conv1d(
    op: str, x: tuple[int, ...], kernel: tuple[int, ...], bias: tuple[int, ...] | None, groups: int
) -> None:
    """Check the shapes of a convolution of sequences.

    Raises:
        ShapeError: they do not fit each other.
    """
    if len(x) != 3:
        raise ShapeError(f"{op} was given x of shape {tuple(x)}, but x must be (batch, time, channels)")
    if len(kernel) != 3:
        raise ShapeError(
            f"{op} was given a kernel of shape {tuple(kernel)}, but a kernel must be (time, in / groups, out)"
        )
    _check_groups(op, x, kernel, groups, takes=kernel[1] * groups, out=kernel[2])
    _check_bias(op, bias, kernel[2])


def check_conv2d(
    op: str, x: tuple[int, ...], kernel: tuple[int, ...], bias: tuple[int, ...] | None, groups: int
) -> None:
    """Check the shapes of a convolution.

    Raises:
        ShapeError: they do not fit each other.
    """
    check_images(op, x)
    if len(kernel) != 4:
        raise ShapeError(
            f"{op} was given a kernel of shape {tuple(kernel)}, but a kernel must be (height, width, in / groups, out)"
        )
    _check_groups(op, x, kernel, groups, takes=kernel[2] * groups, out=kernel[3])
    _check_bias(op, bias, kernel[3])


def check_conv2d_transpose(
    op: str, x: tuple[int, ...], kernel: tuple[int, ...], bias: tuple[int, ...] | None, groups: int
) -> None:
    """Check the shapes of a transposed convolution.

    Raises:
        ShapeError: they do not fit each other.
    """
    check_images(op, x)
    if len(kernel) != 4:
        raise ShapeError(
            f"{op} was given a kernel of shape {tuple(kernel)}, but a kernel must be (height, width, in, out / groups)"
        )
    _check_groups(op, x, kernel, groups, takes=kernel[2], out=groups * kernel[3])
    if kernel[2] % groups:
        raise ShapeError(
            f"{op} was given a kernel with {kernel[2]} input channels and groups={groups}, but the input channels must "
            "be a multiple of groups"
        )
    _check_bias(op, bias, groups * kernel[3])


def _check_groups(op: str, x: tuple[int, ...], kernel: tuple[int, ...], groups: int, *, takes: int, out: int) -> None:
    if groups < 1 or x[-1] != takes:
        raise ShapeError(
            f"{op} was given x with {x[-1]} channels, but a kernel of shape {tuple(kernel)} with groups={groups} takes "
            f"{takes}"
        )
    if out % groups:
        raise ShapeError(
            f"{op} was given a kernel with {out} output channels and groups={groups}, but the output channels "
            "must be a multiple of groups"
        )


def _check_bias(op: str, bias: tuple[int, ...] | None, out: int) -> None:
    if bias is not None and bias != (out,):
        raise ShapeError(f"{op} was given a bias of shape {bias}, but the bias must be ({out},)")


def axis_of(op: str, axis: int, count: int) -> int:
    """An axis counted from the front.

    Raises:
        ShapeError: an array of so many axes does not have it.
    """
    if not -count <= axis < count:
        raise ShapeError(f"{op} was given axis={axis} of an array with {count} axes, which has none of that number")
    return axis % count


def broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of one shape can be repeated to another."""
    inner = target[len(target) - len(shape) :]
    return len(shape) <= len(target) and all(n in (1, m) for n, m in zip(shape, inner, strict=True))


def indexed(
    shape: tuple[int, ...], indices: Sequence[tuple[int, ...] | None]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The shape of ``x[indices]``, where arrays of integers or whole axes are taken, by NumPy's rule.

    Args:
        shape: of x.
        indices: the shapes of the arrays for the leading axes; None for a whole axis.

    Returns:
        The shape, and for each axis of x the shape with which its positions broadcast to that.

    Raises:
        ShapeError: the arrays do not broadcast together.
    """
    every = [*indices, *(None for _ in shape[len(indices) :])]
    arrays = [index for index in every if index is not None]
    together = _broadcast(arrays)
    first = next(axis for axis, index in enumerate(every) if index is not None)
    beside = all(index is not None for index in every[first : first + len(arrays)])
    front = first if beside else 0
    whole = [n for n, index in zip(shape, every, strict=True) if index is None]
    result = (*whole[:front], *together, *whole[front:])
    places, seen = [], 0
    for n, index in zip(shape, every, strict=True):
        if index is not None:
            places.append((*(1,) * (len(together) - len(index)), *index, *(1,) * (len(whole) - front)))
        else:
            at = seen if seen < front else seen + len(together)
            places.append((n, *(1,) * (len(result) - at - 1)))
            seen += 1
    return result, places


def _broadcast(given: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    found = [1] * max(map(len, given))
    for shape in given:
        for axis, n in enumerate(shape, start=len(found) - len(shape)):
            if n != 1 and found[axis] not in (1, n):
                raise ShapeError(f"indices of shapes {', '.join(map(str, given))} do not broadcast together")
            found[axis] = found[axis] if n == 1 else n
    return tuple(found)
