"""Arithmetic on images in NumPy: fits images of one shape to the shape that a model wants."""

from __future__ import annotations

import functools

import numpy as np

from hal.data.spec import Wanted
from hal.errors import ConfigError

__all__ = ["BECOMES_GRAY", "check_channels", "fit", "image_shape", "resize"]

BECOMES_GRAY = "color pictures become gray: model.channels=3 keeps the color"
"""What the first screen of a run says where color is dropped."""

LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in the brightness that one sees (ITU-R BT.601)."""


def image_shape(wanted: Wanted) -> tuple[int, int, int]:
    """The image (height, width, channels) behind what a model wants; a sequence is a gray image, one row a step."""
    if wanted.kind == "sequence":
        return wanted.shape[0], wanted.shape[1], 1
    return wanted.shape[0], wanted.shape[1], wanted.shape[2]


def check_channels(source: str, channels: int, wanted: Wanted) -> None:
    """Refuse images whose channels cannot become the wanted ones.

    Raises:
        ConfigError: neither equal, nor gray to any number, nor red, green and blue to gray.
    """
    asked = image_shape(wanted)[2]
    if channels not in (asked, 1) and (channels, asked) != (3, 1):
        raise ConfigError(
            f"data={source} has images of {channels} channels, but the model takes images of {asked}",
            fix="use gray images, or RGB images for a model of 3 or 1 channels; the axes are (count, height, "
            "width, channels)",
        )


@functools.lru_cache(maxsize=32)
def _weights(size: int, new_size: int) -> np.ndarray:
    """The matrix (new_size, size) that resizes one axis by a triangle filter, as wide as one new pixel when shrinking.

    Bilinear interpolation when growing; when shrinking every pixel counts, as in Pillow's ``BILINEAR``.
    """
    scale = size / new_size
    support = max(scale, 1.0)
    centers = (np.arange(new_size) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centers[:, None]) / support
    weights = np.maximum(1 - distance, 0)
    matrix: np.ndarray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize images bilinearly; the outer edges of an image stay its outer edges.

    Args:
        images: float32 (batch, height, width, channels).
        height: the new one, in pixels.
        width: the new one, in pixels.

    Returns:
        float32 (batch, height, width, channels); the images themselves where the size is right already.
    """
    count, old_height, old_width, channels = images.shape
    if old_height != height:
        rows = images.reshape(count, old_height, old_width * channels)
        images = np.matmul(_weights(old_height, height), rows).reshape(count, height, old_width, channels)
    if old_width != width:
        images = np.matmul(_weights(old_width, width), images)
    return images


def fit(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images of another size and number of channels.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1]; channels that :func:`check_channels` let pass.
        shape: the wanted (height, width, channels).

    Returns:
        float32 (batch, *shape) in [0, 1].
    """
    if images.shape[1:] == shape:
        return images
    if (images.shape[3], shape[2]) == (3, 1):
        images = np.matmul(images, LUMA[:, None])
    images = np.clip(resize(images, shape[0], shape[1]), 0, 1)  # the weights' rounding may pass 1 by a hair
    return np.repeat(images, shape[2], axis=3) if images.shape[3] != shape[2] else images
