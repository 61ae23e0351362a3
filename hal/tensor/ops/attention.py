"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

from hal.errors import ShapeError, UnsupportedError
from hal.tensor import shapes
from hal.tensor.ops.activations import Activations
from hal.tensor.ops.random import Random
from hal.types import Array

__all__ = ["Attention"]


class Attention(Activations, Random):
    """Means of values, weighted by how well the keys beside them fit a query."""

    def attention(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        mask: Array | None = None,
        causal: bool = False,
        scale: float | None = None,
        dropout: float = 0.0,
        rng: Any = None,
    ) -> Array:
        """Scaled dot-product attention (Vaswani et al., arXiv 1706.03762).

        Args:
            query: (batch, heads, time, features).
            key: (batch, groups, source time, features), where groups divides heads: each key serves heads / groups
                queries in a row (Ainslie et al., arXiv 2305.13245).
            value: (batch, groups, source time, value features).
            mask: broadcasts to (batch, heads, time, source time); either booleans, true where attention may look, or
                numbers of the dtype of query or fp32, which are added to the scores. A query that may look nowhere,
                because its row is all false or all -inf, gives zeros, and its gradients are zeros.
            causal: look at no later position; position 0 of query and source stand side by side.
            scale: the scores are multiplied by it; None: 1 / sqrt(features).
            dropout: the share of the weights that become zero, in [0, 1); the others are divided by 1 - dropout.
            rng: random key that determines which weights, as in :meth:`dropout`; needed if dropout is not 0.

        Returns:
            (batch, heads, time, value features).

        Raises:
            ShapeError: the shapes do not fit each other, both mask and causal are given, or dropout is not in [0, 1).
            UnsupportedError: the arrays are not of one dtype, the mask is of neither kind, or a random key is missing.
        """
        _check_shapes(tuple(query.shape), tuple(key.shape), tuple(value.shape))
        self._check_dtypes("attention", query, (("key", key), ("value", value)))
        if mask is not None:
            self._check_mask(query, key, mask, causal)
        if not 0 <= dropout < 1:
            raise ShapeError(f"attention was given dropout={dropout}, but the rate must be at least 0 and less than 1")
        if dropout and rng is None:
            raise UnsupportedError(
                f"attention was given dropout={dropout} without a random key", fix="pass rng=, the key to draw with"
            )
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
        return self._attention(query, key, value, mask, causal, factor, dropout, rng)

    def _check_mask(self, query: Array, key: Array, mask: Array, causal: bool) -> None:
        if causal:
            raise ShapeError("attention takes either mask or causal=True, not both; put the causal part into the mask")
        scores, given = (*query.shape[:3], key.shape[2]), tuple(mask.shape)
        if not given or not shapes.broadcasts(given, scores):
            raise ShapeError(f"attention was given a mask of shape {given}, but a mask must broadcast to {scores}")
        kinds = (self.standard.bool, query.dtype, self.standard.float32)
        if all(mask.dtype != kind for kind in kinds):
            raise UnsupportedError(
                f"attention was given a mask of {mask.dtype} with a query of {query.dtype}",
                fix="use booleans, true where attention may look, or numbers of the query's dtype or fp32 to add",
            )

    def _attention(
        self,
        query: Array,
        key: Array,
        value: Array,
        mask: Array | None,
        causal: bool,
        scale: float,
        dropout: float,
        rng: Any,
    ) -> Array:
        """Scores and weights are fp32 at least: a sum of rounded weights is not 1."""
        xp = self.standard
        served = query.shape[1] // max(key.shape[1], 1)
        if served > 1:
            key, value = xp.repeat(key, served, axis=1), xp.repeat(value, served, axis=1)
        scores = self._wide(xp.matmul(query, xp.matrix_transpose(key))) * scale
        if causal:
            steps, sources = scores.shape[-2:]
            rows, columns = (self.positions(count, like=query) for count in (steps, sources))
            mask = xp.expand_dims(rows, axis=1) >= xp.expand_dims(columns, axis=0)
        somewhere = None
        if mask is not None:
            # A query that may look nowhere looks everywhere, so that no number is NaN; its result is replaced by zeros.
            looks = mask if mask.dtype == xp.bool else mask != -float("inf")
            somewhere = xp.any(looks, axis=-1, keepdims=True)
            if mask.dtype == xp.bool:
                allowed = xp.logical_or(mask, xp.logical_not(somewhere))
                scores = xp.where(allowed, scores, self.filled(scores.shape, -float("inf"), like=scores))
            else:
                scores = scores + self.cast(xp.where(somewhere, mask, xp.zeros_like(mask)), scores.dtype)
        weights = self.cast(self.softmax(scores), value.dtype)
        if dropout:
            weights = self.dropout(weights, dropout, rng)
        result = xp.matmul(weights, value)
        return result if somewhere is None else xp.where(somewhere, result, xp.zeros_like(result))


def _check_shapes(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> None:
    given = f"attention was given query {query}, key {key} and value {value}, but "
    if not len(query) == len(key) == len(value) == 4:
        raise ShapeError(f"{given}each must be (batch, heads, time, features)")
    if query[3] != key[3] or key[2] != value[2]:
        raise ShapeError(f"{given}query and key must have equal features, and key and value equal time")
    if not query[0] == key[0] == value[0]:
        raise ShapeError(f"{given}all must have one batch size")
    if key[1] != value[1] or query[1] % max(key[1], 1):
        raise ShapeError(
            f"{given}key and value must have equal heads, and the query's heads must be a multiple of them"
        )
