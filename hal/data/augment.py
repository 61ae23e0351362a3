"""Random changes to images that do not change their class; they run on the device, in neutral ops."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

from hal import ops
from hal.errors import ConfigError, ShapeError
from hal.tensor import namespace
from hal.types import Array

__all__ = ["AUGMENTATIONS", "augment", "check_augmentations"]


_MOST_DEGREES = 15.0
_MOST_SCALE = 0.15


def _flip(images: Array, key: Any) -> Array:
    chosen = ops.uniform(key, (images.shape[0], 1, 1, 1), like=images) < 0.5
    return ops.where(chosen, ops.flip(images, axis=2), images)


def _crop(images: Array, key: Any) -> Array:
    """Move each image by a whole number of pixels along both axes; what comes in is zero."""
    height, width = images.shape[1:3]
    down, right = _moves(images, ops.fold_in(key, 0), height), _moves(images, ops.fold_in(key, 1), width)
    return ops.translate2d(images, down, right)


def _moves(images: Array, key: Any, size: int) -> Array:
    """How far each image moves along an axis of this size, in pixels: integers (batch,)."""
    most = max(2, round(0.1 * size))
    whole = ops.positions(1, like=images)
    # Drawn in fp32, since a narrower dtype of the images may round the largest draw up to 1.
    like = ops.astype(whole, namespace(images).float32)
    drawn = ops.floor(ops.uniform(key, (images.shape[0], 1), like=like) * (2 * most + 1))
    return most - ops.astype(ops.reshape(drawn, (-1,)), whole.dtype)


def _brightness(images: Array, key: Any) -> Array:
    factor = 0.8 + 0.4 * ops.uniform(key, (images.shape[0], 1, 1, 1), like=images)
    return ops.clip(images * factor, 0.0, 1.0)


def _rotate(images: Array, key: Any) -> Array:
    """Turn each image about its center by up to 15 degrees to either side."""
    angle = (2 * _drawn(images, key) - 1) * _MOST_DEGREES * (math.pi / 180)
    return _mapped(images, ops.cos(angle), ops.sin(angle))


def _scale(images: Array, key: Any) -> Array:
    """Magnify each image about its center by a factor from 0.85 to 1.15."""
    factor = 1 / (1 + (2 * _drawn(images, key) - 1) * _MOST_SCALE)
    return _mapped(images, factor, ops.zeros_like(factor))


def _drawn(images: Array, key: Any) -> Array:
    """A number in [0, 1) for each image, (batch, 1, 1), in fp32."""
    like = ops.astype(ops.positions(1, like=images), namespace(images).float32)
    return ops.uniform(key, (images.shape[0], 1, 1), like=like)


def _mapped(images: Array, along: Array, across: Array) -> Array:
    """Images whose pixels come from where a rotation and scaling about the center takes them, bilinearly.

    Args:
        images: (batch, height, width, channels).
        along: (batch, 1, 1), fp32; how much of a pixel's own coordinate counts.
        across: (batch, 1, 1), fp32; how much of the other coordinate counts.
    """
    height, width = images.shape[1:3]
    whole = ops.positions(1, like=images)
    rows = ops.reshape(ops.astype(ops.positions(height, like=images), along.dtype), (1, height, 1)) - (height - 1) / 2
    columns = ops.reshape(ops.astype(ops.positions(width, like=images), along.dtype), (1, 1, width)) - (width - 1) / 2
    row = along * rows + across * columns + (height - 1) / 2
    column = along * columns - across * rows + (width - 1) / 2
    top, left = ops.floor(row), ops.floor(column)
    below, beside = row - top, column - left
    found = None
    for down, right, share in (
        (0, 0, (1 - below) * (1 - beside)),
        (0, 1, (1 - below) * beside),
        (1, 0, below * (1 - beside)),
        (1, 1, below * beside),
    ):
        part = _taken(images, ops.astype(top, whole.dtype) + down, ops.astype(left, whole.dtype) + right)
        part = part * ops.astype(ops.expand_dims(share, axis=3), images.dtype)
        found = part if found is None else found + part
    return found


def _taken(images: Array, rows: Array, columns: Array) -> Array:
    """The pixels at integers (batch, height, width); zero outside of the image."""
    batch, height, width, channels = images.shape
    row, column = ops.clip(rows, 0, height - 1), ops.clip(columns, 0, width - 1)
    first = ops.reshape(ops.positions(batch, like=images) * (height * width), (batch, 1, 1))
    pixel = ops.reshape(first + row * width + column, (-1,))
    moved = ops.reshape(ops.take(ops.reshape(images, (-1, channels)), pixel, axis=0), tuple(images.shape))
    inside = ops.logical_and(row == rows, column == columns)
    return ops.where(ops.expand_dims(inside, axis=3), moved, ops.zeros_like(moved))


def _color(images: Array, key: Any) -> Array:
    """Change contrast and saturation of each image, and the balance of its channels."""
    count, channels = images.shape[0], images.shape[3]
    contrast = 0.8 + 0.4 * ops.uniform(ops.fold_in(key, 0), (count, 1, 1, 1), like=images)
    saturation = 0.6 + 0.8 * ops.uniform(ops.fold_in(key, 1), (count, 1, 1, 1), like=images)
    balance = 0.9 + 0.2 * ops.uniform(ops.fold_in(key, 2), (count, 1, 1, channels), like=images)
    gray = ops.mean(images, axis=3, keepdims=True)
    images = gray + (images - gray) * saturation if channels > 1 else images
    middle = ops.mean(images, axis=(1, 2, 3), keepdims=True)
    return ops.clip((middle + (images - middle) * contrast) * balance, 0.0, 1.0)


AUGMENTATIONS: dict[str, Callable[[Array, Any], Array]] = {
    "brightness": _brightness,
    "color": _color,
    "crop": _crop,
    "flip": _flip,
    "rotate": _rotate,
    "scale": _scale,
}


def check_augmentations(kinds: Sequence[str]) -> None:
    """Refuse names that :func:`augment` does not know.

    Raises:
        ConfigError: a name is not known.
    """
    for kind in kinds:
        if kind not in AUGMENTATIONS:
            near = difflib.get_close_matches(kind, AUGMENTATIONS, n=1)
            raise ConfigError(
                f"data.augment={kind} is not known" + (f"; did you mean {near[0]}?" if near else ""),
                fix=f"use one of: {', '.join(AUGMENTATIONS)}",
            )


def augment(images: Array, key: Any, kinds: Sequence[str]) -> Array:
    """Change each image at random. Never waits for the device, and can be compiled and differentiated.

    Args:
        images: (batch, height, width, channels) in [0, 1].
        key: a random key; equal keys give equal changes.
        kinds: what to do, in this order: ``flip`` mirrors half of the images left to right; ``crop`` moves each by up
            to a tenth of its height and width, at least up to 2 pixels, and fills with zeros; ``brightness`` multiplies
            each by a factor from 0.8 to 1.2 and clips at 1; ``rotate`` turns each by up to 15 degrees; ``scale``
            magnifies each by 0.85 to 1.15; ``color`` changes contrast, saturation and the balance of the channels.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ConfigError: a kind is not known.
        ShapeError: these are not images.
    """
    check_augmentations(kinds)
    if len(images.shape) != 4:
        raise ShapeError(f"images have shape {tuple(images.shape)}, but should have (batch, height, width, channels)")
    for index, kind in enumerate(kinds):
        images = AUGMENTATIONS[kind](images, ops.fold_in(key, index))
    return images
