"""The arithmetic of dense layers, embeddings and attention."""

from __future__ import annotations

from hal.errors import ShapeError
from hal.tensor.ops.activations import Activations
from hal.types import Array

__all__ = ["Layers"]


class Layers(Activations):
    """Products with parameters, rows of a table, attention."""

    def linear(self, x: Array, kernel: Array, bias: Array | None = None) -> Array:
        """``x @ kernel + bias``.

        Args:
            x: (..., in).
            kernel: (in, out).
            bias: (out,).

        Returns:
            (..., out).

        Raises:
            ShapeError: the features of x are not those of the kernel.
            UnsupportedError: the arrays are not of one dtype.
        """
        if not x.shape or len(kernel.shape) != 2 or x.shape[-1] != kernel.shape[0]:
            raise ShapeError(
                f"linear was given x of shape {tuple(x.shape)} and a kernel of shape {tuple(kernel.shape)}, but these "
                "must be (..., in) and (in, out)"
            )
        self._check_dtypes("linear", x, (("kernel", kernel), ("bias", bias)))
        return self._linear(x, kernel, bias)

    def _linear(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        y = self.standard.matmul(x, kernel)
        return y if bias is None else y + bias

    def embedding(self, table: Array, ids: Array) -> Array:
        """Rows of a table.

        Args:
            table: (entries, features).
            ids: integers (...) from 0 to below entries. Others are an error where the device checks them; elsewhere
                they give NaN, never a row of the table.

        Returns:
            (..., features).

        Raises:
            ShapeError: the table does not have two axes.
        """
        if len(table.shape) != 2:
            raise ShapeError(
                f"embedding was given a table of shape {tuple(table.shape)}, but it must be (entries, features)"
            )
        return self._embedding(table, ids)

    def _embedding(self, table: Array, ids: Array) -> Array:
        flat = self.standard.take(table, self.standard.reshape(ids, (-1,)), axis=0)
        return self.standard.reshape(flat, (*ids.shape, table.shape[1]))

    def attention(
        self, query: Array, key: Array, value: Array, *, mask: Array | None = None, causal: bool = False
    ) -> Array:
        """Scaled dot-product attention (Vaswani et al., arXiv 1706.03762).

        Args:
            query: (batch, heads, time, features).
            key: (batch, heads, source time, features).
            value: (batch, heads, source time, value features).
            mask: booleans that broadcast to (batch, heads, time, source time); true where attention may look. A query
                that may look nowhere gives zeros, and its gradients are zeros.
            causal: look at no later position; position 0 of query and source stand side by side.

        Returns:
            (batch, heads, time, value features).

        Raises:
            ShapeError: the shapes do not fit each other, or both mask and causal are given.
            UnsupportedError: the arrays are not of one dtype.
        """
        if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
            raise ShapeError(
                f"attention was given query {tuple(query.shape)}, key {tuple(key.shape)} and value "
                f"{tuple(value.shape)}, but query and key must have equal features, and key and value equal time"
            )
        if mask is not None and causal:
            raise ShapeError("attention takes either mask or causal=True, not both; put the causal part into the mask")
        self._check_dtypes("attention", query, (("key", key), ("value", value)))
        return self._attention(query, key, value, mask, causal)

    def _attention(self, query: Array, key: Array, value: Array, mask: Array | None, causal: bool) -> Array:
        """Scores and weights are fp32 at least: a sum of rounded weights is not 1."""
        xp = self.standard
        wide = xp.float64 if query.dtype == xp.float64 else xp.float32
        scores = self.cast(xp.matmul(query, xp.matrix_transpose(key)), wide) / query.shape[-1] ** 0.5
        if causal:
            steps, sources = scores.shape[-2:]
            rows, columns = (self.positions(count, like=query) for count in (steps, sources))
            mask = xp.expand_dims(rows, axis=1) >= xp.expand_dims(columns, axis=0)
        if mask is None:
            return xp.matmul(self.cast(self.softmax(scores), value.dtype), value)
        # A query that may look nowhere looks everywhere, so that no number is NaN, and its result is replaced by zeros.
        somewhere = xp.any(mask, axis=-1, keepdims=True)
        looks = xp.logical_or(mask, xp.logical_not(somewhere))
        scores = xp.where(looks, scores, self.filled(scores.shape, -float("inf"), like=scores))
        result = xp.matmul(self.cast(self.softmax(scores), value.dtype), value)
        return xp.where(somewhere, result, xp.zeros_like(result))
