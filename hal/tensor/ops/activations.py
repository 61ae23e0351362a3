"""Activations: elementwise functions, and softmax along an axis."""

from __future__ import annotations

from collections.abc import Sequence

from hal.tensor.ops.arrays import Arrays
from hal.types import Array

__all__ = ["Activations"]

_ROOT_OF_HALF = 0.7071067811865476

# Numerators and denominators, from the highest power down: of erf(x) / x in x² up to 1, and of erfc(x) * exp(x²) in x
# from 1 to 8. From _ERF_IS_ONE on, erf is 1 in float64.
_ERF_TOP = (
    9.60497373987051638749e0,
    9.00260197203842689217e1,
    2.23200534594684319226e3,
    7.00332514112805075473e3,
    5.55923013010394962768e4,
)
_ERF_BOTTOM = (
    1.0,
    3.35617141647503099647e1,
    5.21357949780152679795e2,
    4.59432382970980127987e3,
    2.26290000613890934246e4,
    4.92673942608635921086e4,
)
_ERFC_TOP = (
    2.46196981473530512524e-10,
    5.64189564831068821977e-1,
    7.46321056442269912687e0,
    4.86371970985681366614e1,
    1.96520832956077098242e2,
    5.26445194995477358631e2,
    9.34528527171957607540e2,
    1.02755188689515710272e3,
    5.57535335369399327526e2,
)
_ERFC_BOTTOM = (
    1.0,
    1.32281951154744992508e1,
    8.67072140885989742329e1,
    3.54937778887819891062e2,
    9.75708501743205489753e2,
    1.82390916687909736289e3,
    2.24633760818710981792e3,
    1.65666309194161350182e3,
    5.57535340817727675546e2,
)
_ERF_IS_ONE = 6.0


class Activations(Arrays):
    """Each takes x of any shape and returns the same shape and dtype."""

    def relu(self, x: Array) -> Array:
        """``max(x, 0)``, elementwise (Nair and Hinton, ICML 2010)."""
        return self._relu(x)

    def _relu(self, x: Array) -> Array:
        return self.standard.where(x <= 0, self.standard.zeros_like(x), x)  # so that NaN stays

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

    def erf(self, x: Array) -> Array:
        """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t²)`` from 0 to x, elementwise."""
        return self._erf(x)

    def _erf(self, x: Array) -> Array:
        """Rational approximations (Cody, Mathematics of Computation 23, 1969) with the coefficients of Cephes.

        Computed in fp32 at least, which the coefficients need. Each branch gets arguments of its own range alone, so
        that the derivative of the branch that is not taken is finite.
        """
        xp = self.standard
        wide = self._wide(x)
        size, one = xp.abs(wide), self.filled((), 1.0, like=wide)
        near, beyond = size <= 1, size > _ERF_IS_ONE
        small = xp.where(near, wide, xp.zeros_like(wide))
        square = small * small
        inner = small * _polynomial(square, _ERF_TOP) / _polynomial(square, _ERF_BOTTOM)
        large = xp.where(xp.logical_or(near, beyond), one, size)
        tail = xp.exp(-large * large) * _polynomial(large, _ERFC_TOP) / _polynomial(large, _ERFC_BOTTOM)
        outer = 1 - xp.where(beyond, xp.zeros_like(tail), tail)
        return self.cast(xp.where(near, inner, xp.where(wide < 0, -outer, outer)), x.dtype)

    def gelu(self, x: Array, *, exact: bool = False) -> Array:
        """GELU (Hendrycks and Gimpel, arXiv 1606.08415), elementwise: exactly, or by its tanh approximation.

        Args:
            x: any shape.
            exact: 0.5 * x * (1 + erf(x / sqrt(2))); otherwise
                0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x³))).

        Returns:
            The same shape.
        """
        return self._gelu(x, exact)

    def _gelu(self, x: Array, exact: bool) -> Array:
        if exact:
            wide = self._wide(x)
            return self.cast(0.5 * wide * (1 + self.erf(wide * _ROOT_OF_HALF)), x.dtype)
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


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    """By Horner's rule; the first coefficient is that of the highest power."""
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value
