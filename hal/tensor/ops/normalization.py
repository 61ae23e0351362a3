"""Normalisation over a batch or over features; statistics are taken in the dtype of the scale."""

from __future__ import annotations

import math

from hal.errors import ShapeError
from hal.tensor.ops.arrays import Arrays
from hal.types import Array

__all__ = ["Normalization"]


class Normalization(Arrays):
    """Zero mean and unit variance, then scale and offset."""

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        offset: Array,
        mean: Array,
        variance: Array,
        *,
        training: bool,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
    ) -> tuple[Array, Array, Array]:
        """Normalise each channel (Ioffe and Szegedy, arXiv 1502.03167).

        Args:
            x: (batch, ..., channels); in training at least two values for each channel, over all processes that share
                the batch.
            scale: (channels,); as offset, mean and variance, in fp32 also where x is narrower.
            offset: (channels,).
            mean: running mean (channels,).
            variance: running variance (channels,), the unbiased estimate.
            training: normalize by this batch's statistics and update the running ones.
            momentum: the share of the running statistics that an update keeps.
            epsilon: added to the variance.

        Returns:
            The result, of the shape of x, and the running mean and variance from now on.

        Raises:
            ShapeError: scale, offset, mean or variance is not (channels,), or there are no two values to take
                statistics of.
            UnsupportedError: the arrays are neither of one dtype nor, but for x, of fp32.
        """
        given = (("scale", scale), ("offset", offset), ("mean", mean), ("variance", variance))
        _check_channels("batch_norm", x, given)
        self._check_dtypes("batch_norm", x, given, wide=True)
        if training:
            _check_values(x, self._batch_shares())
        return self._batch_norm(x, scale, offset, mean, variance, training, momentum, epsilon)

    def _batch_shares(self) -> int:
        """How many processes hold equal shares of each batch, of which this one's rows are one."""
        return 1

    def _batch_norm(
        self,
        x: Array,
        scale: Array,
        offset: Array,
        mean: Array,
        variance: Array,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> tuple[Array, Array, Array]:
        xp = self.standard
        wide = self.cast(x, scale.dtype)
        if training:
            axes = tuple(range(len(x.shape) - 1))
            count = 1
            for axis in axes:
                count *= x.shape[axis]
            batch_mean = xp.mean(wide, axis=axes)
            batch_variance = xp.mean(xp.square(wide - batch_mean), axis=axes)
            unbiased = batch_variance * (count / (count - 1))
            next_mean = momentum * mean + (1 - momentum) * self.stop_gradient(batch_mean)
            next_variance = momentum * variance + (1 - momentum) * self.stop_gradient(unbiased)
        else:
            batch_mean, batch_variance, next_mean, next_variance = mean, variance, mean, variance
        y = (wide - batch_mean) * (scale / xp.sqrt(batch_variance + epsilon)) + offset
        return self.cast(y, x.dtype), next_mean, next_variance

    def layer_norm(self, x: Array, scale: Array, offset: Array, *, epsilon: float = 1e-5) -> Array:
        """Normalise over the last axis (Ba, Kiros and Hinton, arXiv 1607.06450).

        Args:
            x: (..., features).
            scale: (features,), in fp32 also where x is narrower.
            offset: (features,), likewise.
            epsilon: added to the variance.

        Returns:
            The shape and dtype of x.

        Raises:
            ShapeError: scale or offset is not (features,).
            UnsupportedError: the arrays are neither of one dtype nor, but for x, of fp32.
        """
        given = (("scale", scale), ("offset", offset))
        _check_channels("layer_norm", x, given)
        self._check_dtypes("layer_norm", x, given, wide=True)
        return self._layer_norm(x, scale, offset, epsilon)

    def _layer_norm(self, x: Array, scale: Array, offset: Array, epsilon: float) -> Array:
        xp = self.standard
        wide = self.cast(x, scale.dtype)
        centered = wide - xp.mean(wide, axis=-1, keepdims=True)
        variance = xp.mean(centered * centered, axis=-1, keepdims=True)
        return self.cast(centered / xp.sqrt(variance + epsilon) * scale + offset, x.dtype)

    def group_norm(self, x: Array, groups: int, scale: Array, offset: Array, *, epsilon: float = 1e-5) -> Array:
        """Normalise each sample over groups of its channels (Wu and He, arXiv 1803.08494).

        Args:
            x: (batch, ..., channels).
            groups: into how many of equal size the channels are split; as many as channels is instance normalization.
            scale: (channels,), in fp32 also where x is narrower.
            offset: (channels,), likewise.
            epsilon: added to the variance.

        Returns:
            The shape and dtype of x.

        Raises:
            ShapeError: x has no batch, groups does not divide the channels, or scale or offset is not (channels,).
            UnsupportedError: the arrays are neither of one dtype nor, but for x, of fp32.
        """
        if len(x.shape) < 2:
            raise ShapeError(f"group_norm was given x of shape {tuple(x.shape)}, but x must be (batch, ..., channels)")
        if groups < 1 or x.shape[-1] % groups:
            raise ShapeError(
                f"group_norm was given groups={groups} and x with {x.shape[-1]} channels, but the channels must be a "
                "multiple of groups"
            )
        given = (("scale", scale), ("offset", offset))
        _check_channels("group_norm", x, given)
        self._check_dtypes("group_norm", x, given, wide=True)
        return self._group_norm(x, groups, scale, offset, epsilon)

    def _group_norm(self, x: Array, groups: int, scale: Array, offset: Array, epsilon: float) -> Array:
        xp, channels = self.standard, x.shape[-1]
        shape = (x.shape[0], math.prod(x.shape[1:-1]), groups, channels // groups)
        wide = xp.reshape(self.cast(x, scale.dtype), shape)
        centered = wide - xp.mean(wide, axis=(1, 3), keepdims=True)
        variance = xp.mean(centered * centered, axis=(1, 3), keepdims=True)
        normal = xp.reshape(centered / xp.sqrt(variance + epsilon), tuple(x.shape))
        return self.cast(normal * scale + offset, x.dtype)


def _check_values(x: Array, shares: int) -> None:
    """Refuse statistics of one value: it is its own mean, so that the result is the offset, whatever x holds."""
    count = math.prod(x.shape[:-1]) * shares
    if count < 2:
        raise ShapeError(
            f"batch_norm was given x of shape {tuple(x.shape)} in training, which has {count} value"
            f"{'' if count == 1 else 's'} for each channel, but a mean and a variance need at least two",
            fix="use a larger batch=, or a smaller accumulate=, which divides the batch into parts; a model that must "
            "train on single samples can use layer_norm instead",
        )


def _check_channels(op: str, x: Array, given: tuple[tuple[str, Array], ...]) -> None:
    for name, value in given:
        if tuple(value.shape) != (x.shape[-1],):
            raise ShapeError(
                f"{op} was given x of shape {tuple(x.shape)} and {name} of shape {tuple(value.shape)}, but {name} must "
                f"be ({x.shape[-1]},), one number for each channel"
            )
