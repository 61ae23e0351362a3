"""Activations: elementwise functions, and softmax along an axis."""

from __future__ import annotations

from hal.tensor.ops.arrays import Arrays
from hal.types import Array

__all__ = ["Activations"]


class Activations(Arrays):
    """Each takes x of any shape and returns the same shape and dtype."""

    def relu(self, x: Array) -> Array:
        """``max(x, 0)``, elementwise (Nair and Hinton, ICML 2010)."""
        return self._relu(x)

    def _relu(self, x: Array) -> Array:
        return self.standard.where(x > 0, x, self.standard.zeros_like(x))

    def leaky_relu(self, x: Array, slope: float = 0.01) -> Array:
        """``x`` where it is positive, ``slope * x`` elsewhere (Maas, Hannun and Ng, 2013).

        Args:
            x: any shape.
            slope: factor of values below zero.

        Returns:
            The same shape.
        """
        return self._leaky_relu(x, slope)

    def _leaky_relu(self, x: Array, slope: float) -> Array:
        return self.standard.where(x > 0, x, x * slope)

    def elu(self, x: Array) -> Array:
        """``x`` where it is positive, ``exp(x) - 1`` elsewhere (Clevert et al., arXiv 1511.07289)."""
        return self._elu(x)

    def _elu(self, x: Array) -> Array:
        negative = self.standard.where(x > 0, self.standard.zeros_like(x), x)
        return self.standard.where(x > 0, x, self.standard.expm1(negative))

    def gelu(self, x: Array) -> Array:
        """The tanh approximation of GELU (Hendrycks and Gimpel, arXiv 1606.08415).

        0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x³))), elementwise.
        """
        return self._gelu(x)

    def _gelu(self, x: Array) -> Array:
        return 0.5 * x * (1 + self.standard.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))

    def sigmoid(self, x: Array) -> Array:
        """``1 / (1 + exp(-x))``, elementwise, computed without overflow."""
        return self._sigmoid(x)

    def _sigmoid(self, x: Array) -> Array:
        return 0.5 * (self.standard.tanh(0.5 * x) + 1)

    def silu(self, x: Array) -> Array:
        """``x * sigmoid(x)``, elementwise (Elfwing, Uchibe and Doya, arXiv 1702.03118)."""
        return self._silu(x)

    def _silu(self, x: Array) -> Array:
        return x * self.sigmoid(x)

    def softplus(self, x: Array) -> Array:
        """``log(1 + exp(x))``, elementwise, computed without overflow (Dugas et al., NIPS 2000)."""
        return self._softplus(x)

    def _softplus(self, x: Array) -> Array:
        return self.standard.logaddexp(x, self.standard.zeros_like(x))

    def softmax(self, x: Array, axis: int = -1) -> Array:
        """``exp(x)`` over its sum along an axis, computed without overflow.

        Args:
            x: at least one axis.
            axis: along which the results add up to 1.

        Returns:
            The same shape.
        """
        return self._softmax(x, axis)

    def _softmax(self, x: Array, axis: int) -> Array:
        e = self.standard.exp(x - self.stop_gradient(self.standard.max(x, axis=axis, keepdims=True)))
        return e / self.standard.sum(e, axis=axis, keepdims=True)

    def log_softmax(self, x: Array, axis: int = -1) -> Array:
        """The logarithm of softmax, computed without underflow.

        Args:
            x: at least one axis.
            axis: as for :meth:`softmax`.

        Returns:
            The same shape.
        """
        return self._log_softmax(x, axis)

    def _log_softmax(self, x: Array, axis: int) -> Array:
        shifted = x - self.stop_gradient(self.standard.max(x, axis=axis, keepdims=True))
        return shifted - self.standard.log(self.standard.sum(self.standard.exp(shifted), axis=axis, keepdims=True))
