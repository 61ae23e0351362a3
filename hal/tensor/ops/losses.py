"""Losses: one number for each sample, in fp32, or in float64 where that is given."""

from __future__ import annotations

from hal.errors import ShapeError
from hal.tensor.ops.activations import Activations
from hal.types import Array

__all__ = ["Losses"]


class Losses(Activations):
    """Computed in fp32, or in float64 where that is given; the mean is the caller's to take."""

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Minus the log-probability of the right class, -log_softmax(logits)[label].

        Args:
            logits: (..., classes).
            labels: integers (...) from 0 to below classes. Others cannot be refused, since a compiled step sees no
                values: their loss is NaN, and the logits beside them get no gradient. To leave samples out, multiply
                the losses by a mask.

        Returns:
            (...), fp32; float64 where logits are.

        Raises:
            ShapeError: labels do not have the shape of the logits without the classes.
        """
        if tuple(logits.shape[:-1]) != tuple(labels.shape):
            raise ShapeError(
                f"cross_entropy was given logits {tuple(logits.shape)} and labels {tuple(labels.shape)}, but labels "
                "must have the shape of the logits without the last axis, the classes"
            )
        return self._cross_entropy(self._wide(logits), labels)

    def _cross_entropy(self, logits: Array, labels: Array) -> Array:
        classes = self.standard.arange(logits.shape[-1], dtype=labels.dtype, **self._placed(logits))
        hit = self.standard.expand_dims(labels, axis=-1) == classes
        log_p = self.log_softmax(logits)
        losses = -self.standard.sum(self.standard.where(hit, log_p, self.standard.zeros_like(log_p)), axis=-1)
        unknown = self.filled(losses.shape, float("nan"), like=losses)
        return self.standard.where(self.standard.any(hit, axis=-1), losses, unknown)

    def sigmoid_cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Binary cross-entropy of logits against labels in [0, 1], elementwise: softplus(logits) - logits * labels.

        Args:
            logits: (...).
            labels: (...), in [0, 1].

        Returns:
            (...), fp32; float64 where logits are.
        """
        wide = self._wide(logits)
        return self._sigmoid_cross_entropy(wide, self.cast(labels, wide.dtype))

    def _sigmoid_cross_entropy(self, logits: Array, labels: Array) -> Array:
        return self.softplus(logits) - logits * labels

    def squared_error(self, prediction: Array, target: Array) -> Array:
        """The square of prediction - target, elementwise.

        Args:
            prediction: (...).
            target: (...).

        Returns:
            (...), fp32; float64 where prediction is.
        """
        wide = self._wide(prediction)
        return self._squared_error(wide, self.cast(target, wide.dtype))

    def _squared_error(self, prediction: Array, target: Array) -> Array:
        d = prediction - target
        return d * d
