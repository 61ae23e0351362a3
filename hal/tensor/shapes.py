"""Shape arithmetic and checks of the image ops, done once for all backends."""

from __future__ import annotations

from typing import Literal, TypeAlias

from hal.errors import ShapeError

__all__ = [
    "Padding",
    "Pads",
    "Pair",
    "Size",
    "check_conv2d",
    "check_images",
    "conv_output",
    "pads_of",
    "pair",
    "transpose_pads",
]

Pair: TypeAlias = tuple[int, int]
"""(height, width)."""
Size: TypeAlias = int | Pair
"""One number for both axes of an image, or (height, width)."""
Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right))."""
Padding: TypeAlias = Literal["same", "valid"] | Pads


def pair(value: Size, name: str) -> tuple[int, int]:
    """A size for both axes of an image.

    Raises:
        ShapeError: it is not one or two positive numbers.
    """
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or any(not isinstance(v, int) or v < 1 for v in both):
        raise ShapeError(f"{name}={value!r} is not allowed; use a positive number, or two of them: (height, width)")
    return both


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
        pads = []
        for n, k, s, d in zip(size, window, strides, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            pads.append((total // 2, total - total // 2))
        return (pads[0], pads[1])
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


def transpose_pads(padding: Padding, window: tuple[int, int], strides: tuple[int, int]) -> tuple[Pads, Pads]:
    """What a transposed convolution crops and appends.

    The full output has (n - 1) * stride + window rows. ``same`` keeps n * stride of them, those that the gradient of
    a strided ``same`` convolution has (Keras, JAX); ``valid`` keeps max(n * stride, full).

    Returns:
        crop and append, each ((top, bottom), (left, right)).

    Raises:
        ShapeError: padding is neither ``same`` nor ``valid``.
    """
    if padding not in ("same", "valid"):
        raise ShapeError(f"padding={padding!r} is not allowed in a transposed convolution; use 'same' or 'valid'")
    crop, append = [], []
    for k, s in zip(window, strides, strict=True):
        total = max(k - s, 0) if padding == "same" else 0
        crop.append((total // 2, total - total // 2))
        append.append((0, max(s - k, 0)))
    return (crop[0], crop[1]), (append[0], append[1])


def check_images(op: str, x: tuple[int, ...]) -> None:
    """Check that an argument is a batch of images.

    Raises:
        ShapeError: it does not have four axes.
    """
    if len(x) != 4:
        raise ShapeError(f"{op} was given x of shape {tuple(x)}, but x must be (batch, height, width, channels)")


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
    if groups < 1 or x[3] != kernel[2] * groups:
        raise ShapeError(
            f"{op} was given x with {x[3]} channels, but a kernel of shape {tuple(kernel)} with groups={groups} takes "
            f"{kernel[2] * groups}"
        )
    if kernel[3] % groups:
        raise ShapeError(
            f"{op} was given a kernel with {kernel[3]} output channels and groups={groups}, but the output channels "
            "must be a multiple of groups"
        )
    if bias is not None and bias != (kernel[3],):
        raise ShapeError(f"{op} was given a bias of shape {bias}, but the bias must be ({kernel[3]},)")
