"""Random changes to images that leave their class alone, on the device, in neutral ops."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from hal import ops
from hal.errors import ConfigError, ShapeError
from hal.tensor import namespace
from hal.types import Array

__all__ = ["AUGMENTATIONS", "augment", "check_augmentations"]


def _flip(images: Array, key: Any) -> Array:
    chosen = ops.uniform(key, (images.shape[0], 1, 1, 1), like=images) < 0.5
    return ops.where(chosen, ops.flip(images, axis=2), images)


def _crop(images: Array, key: Any) -> Array:
    """Move each image by a whole number of pixels along both axes; what comes in is zero.

    One gather of whole pixels does both moves; on the CPU that is several times faster than one along each axis, and
    tens of times faster than matrices that shift.
    """
    batch, height, width, channels = images.shape
    row, row_inside = _origin(images, ops.fold_in(key, 0), height)
    column, column_inside = _origin(images, ops.fold_in(key, 1), width)
    first = ops.reshape(ops.positions(batch, like=images) * (height * width), (batch, 1, 1))
    pixel = first + ops.expand_dims(row, axis=2) * width + ops.expand_dims(column, axis=1)
    flat = ops.take(ops.reshape(images, (-1, channels)), ops.reshape(pixel, (-1,)), axis=0)
    moved = ops.reshape(flat, tuple(images.shape))
    inside = ops.logical_and(ops.expand_dims(row_inside, axis=2), ops.expand_dims(column_inside, axis=1))
    return ops.where(ops.expand_dims(inside, axis=3), moved, ops.zeros_like(moved))


def _origin(images: Array, key: Any, size: int) -> tuple[Array, Array]:
    """Where each pixel along an axis comes from, integers (batch, size), and whether that is inside the image."""
    most = max(2, round(0.1 * size))
    position = ops.positions(size, like=images)
    # Drawn in fp32, since a narrower dtype of the images may round the largest draw up to 1.
    like = ops.astype(position, namespace(images).float32)
    drawn = ops.floor(ops.uniform(key, (images.shape[0], 1), like=like) * (2 * most + 1)) - most
    origin = position + ops.astype(drawn, position.dtype)
    kept = ops.clip(origin, 0, size - 1)
    return kept, origin == kept


def _brightness(images: Array, key: Any) -> Array:
    factor = 0.8 + 0.4 * ops.uniform(key, (images.shape[0], 1, 1, 1), like=images)
    return ops.clip(images * factor, 0.0, 1.0)


AUGMENTATIONS: dict[str, Callable[[Array, Any], Array]] = {"brightness": _brightness, "crop": _crop, "flip": _flip}


def check_augmentations(kinds: Sequence[str]) -> None:
    """Refuse names that :func:`augment` does not know.

    Raises:
        ConfigError: there is one.
    """
    for kind in kinds:
        if kind not in AUGMENTATIONS:
            near = difflib.get_close_matches(kind, AUGMENTATIONS, n=1)
            raise ConfigError(
                f"augment={kind} is not known" + (f"; did you mean {near[0]}?" if near else ""),
                fix=f"known: {', '.join(AUGMENTATIONS)}",
            )


def augment(images: Array, key: Any, kinds: Sequence[str]) -> Array:
    """Change each image at random. Never waits for the device, and can be compiled and differentiated.

    Args:
        images: (batch, height, width, channels) in [0, 1].
        key: a random key; equal keys give equal changes.
        kinds: what to do, in this order: ``flip`` mirrors half of the images left to right; ``crop`` moves each by up
            to a tenth of its height and width, at least up to 2 pixels, and fills with zeros; ``brightness`` multiplies
            each by a factor from 0.8 to 1.2 and clips at 1.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ConfigError: a kind is not known.
        ShapeError: these are not images.
    """
    check_augmentations(kinds)
    if len(images.shape) != 4:
        raise ShapeError(f"images have shape {tuple(images.shape)}; should be (batch, height, width, channels)")
    for index, kind in enumerate(kinds):
        images = AUGMENTATIONS[kind](images, ops.fold_in(key, index))
    return images
