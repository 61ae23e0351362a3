"""Random changes to images that do not change their class; they run on the device, in neutral ops."""

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


AUGMENTATIONS: dict[str, Callable[[Array, Any], Array]] = {"brightness": _brightness, "crop": _crop, "flip": _flip}


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
            each by a factor from 0.8 to 1.2 and clips at 1.

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
