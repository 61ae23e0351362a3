"""Attention over sequences (batch, time, features), and the block that transformers are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hal import ops
from hal.errors import ShapeError
from hal.nn.core import Dense, Dropout
from hal.nn.layer import Layer, Shape, Specs
from hal.nn.norm import LayerNorm
from hal.nn.positions import rotated
from hal.types import Array, Tree

__all__ = ["MultiHeadAttention", "TransformerBlock"]


@dataclass(frozen=True)
class MultiHeadAttention(Layer):
    """Multi-head self-attention (Vaswani et al., arXiv 1706.03762, section 3.2.2); see :func:`hal.ops.attention`.

    One product computes queries, keys and values together: it is faster than three of a third of the size.

    Attributes:
        heads: heads of the queries. The features of the input are divided among them.
        key_heads: heads of the keys and values, a divisor of ``heads``; each serves several heads of the queries
            (Ainslie et al., arXiv 2305.13245). None: as many as ``heads``.
        causal: a step looks at itself and earlier steps alone.
        rotary: base of rotary positions (:func:`hal.nn.positions.rotated`); None: the layer knows no positions.
        dropout: rate at which the weights of the attention are dropped during training.
        bias: whether both products have a bias.
        init: of both kernels.
    """

    heads: int
    key_heads: int | None = None
    causal: bool = False
    rotary: float | None = None
    dropout: float = 0.0
    bias: bool = True
    init: str = "glorot_uniform"

    @property
    def draws(self) -> bool:
        """Whether weights are dropped."""
        return self.dropout > 0

    def _widths(self, features: int) -> tuple[int, int]:
        """Features of all queries, and of all keys."""
        keys = self.key_heads or self.heads
        if features % self.heads or self.heads % keys:
            raise ShapeError(
                f"attention of {self.heads} heads and {keys} heads of keys was given {features} features; the features "
                "must be a multiple of the heads, and the heads a multiple of those of the keys"
            )
        return features, features // self.heads * keys

    def params(self, shape: Shape) -> Specs:
        """Of the queries, keys and values, side by side, and of the output: kernel (in, out) and bias (out,) each."""
        if len(shape) != 2:
            raise ShapeError(
                f"attention was given inputs of shape {shape}, but it takes sequences of shape (time, features)"
            )
        return {name: part.params(shape) for name, part in self._parts(shape[1]).items()}

    def _parts(self, features: int) -> dict[str, Dense]:
        queries, keys = self._widths(features)
        return {
            "joint": Dense(queries + 2 * keys, bias=self.bias, init=self.init),
            "out": Dense(features, bias=self.bias, init=self.init),
        }

    def apply(
        self,
        params: Tree,
        state: Tree,
        x: Array,
        *,
        training: bool = False,
        key: Any = None,
        mask: Array | None = None,
    ) -> tuple[Array, Tree]:
        """The same shape.

        Args:
            params: values for :meth:`params`.
            state: none.
            x: (batch, time, features).
            training: whether weights are dropped.
            key: random key, if they are.
            mask: booleans that broadcast to (batch, heads, time, time); true where a step may look. A causal layer
                looks at no later step whatever the mask says.

        Raises:
            ShapeError: the features cannot be divided among the heads, or training drops weights without a key.
        """
        queries, keys = self._widths(x.shape[2])
        parts = self._parts(x.shape[2])
        joint, _ = parts["joint"].apply(params["joint"], {}, x)
        query = _split_heads(joint[..., :queries], self.heads)
        key_part = _split_heads(joint[..., queries : queries + keys], self.key_heads or self.heads)
        value = _split_heads(joint[..., queries + keys :], self.key_heads or self.heads)
        if self.rotary is not None:
            query, key_part = rotated(query, self.rotary), rotated(key_part, self.rotary)
        causal = self.causal
        if causal and mask is not None:
            mask, causal = ops.logical_and(mask, _causal(x)), False
        y = ops.attention(query, key_part, value, mask=mask, causal=causal, **self._dropped(training, key))
        y = ops.reshape(ops.permute_dims(y, (0, 2, 1, 3)), (x.shape[0], x.shape[1], queries))
        return parts["out"].apply(params["out"], {}, y)[0], state

    def _dropped(self, training: bool, key: Any) -> dict[str, Any]:
        if not (training and self.draws):
            return {}
        if key is None:
            raise ShapeError("attention with dropout was applied in training without a random key; pass key= to apply")
        return {"dropout": self.dropout, "rng": key}


def _split_heads(x: Array, heads: int) -> Array:
    """(batch, time, features) to (batch, heads, time, features / heads)."""
    batch, time, features = x.shape
    return ops.permute_dims(ops.reshape(x, (batch, time, heads, features // heads)), (0, 2, 1, 3))


def _causal(x: Array) -> Array:
    """Where a step may look: (time, time)."""
    steps = ops.positions(x.shape[1], like=x)
    return ops.expand_dims(steps, axis=1) >= ops.expand_dims(steps, axis=0)


@dataclass(frozen=True)
class TransformerBlock(Layer):
    """Attention and two dense layers, each with a shortcut and a normalization.

    With ``norm="pre"``, x + f(norm(x)), which trains without a warm-up (Xiong et al., arXiv 2002.04745); the last block
    is then followed by a normalization of its own. With ``norm="post"``, norm(x + f(x)), as in the original (Vaswani et
    al., arXiv 1706.03762) and in BERT.

    Attributes:
        heads: see :class:`MultiHeadAttention`.
        hidden: units of the first dense layer; None: four times the features.
        norm: where the normalization stands: pre or post.
        activation: of the first dense layer.
        key_heads: see :class:`MultiHeadAttention`.
        causal: see :class:`MultiHeadAttention`.
        rotary: see :class:`MultiHeadAttention`.
        dropout: rate for what is added to the shortcuts.
        attention_dropout: rate for the weights of the attention.
        epsilon: of the normalizations.
        init: of all kernels.
    """

    heads: int
    hidden: int | None = None
    norm: Literal["pre", "post"] = "pre"
    activation: str = "gelu"
    key_heads: int | None = None
    causal: bool = False
    rotary: float | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    epsilon: float = 1e-5
    init: str = "glorot_uniform"

    @property
    def draws(self) -> bool:
        """Whether something is dropped."""
        return self.dropout > 0 or self.attention_dropout > 0

    def _parts(self, features: int) -> dict[str, Layer]:
        attention = MultiHeadAttention(
            self.heads, self.key_heads, self.causal, self.rotary, self.attention_dropout, init=self.init
        )
        return {
            "attention": attention,
            "attention_norm": LayerNorm(self.epsilon),
            "widen": Dense(self._hidden(features), self.activation, init=self.init),
            "narrow": Dense(features, init=self.init),
            "dense_norm": LayerNorm(self.epsilon),
        }

    def _hidden(self, features: int) -> int:
        return self.hidden or 4 * features

    def params(self, shape: Shape) -> Specs:
        """Those of the attention, both dense layers and both normalizations."""
        if len(shape) != 2:
            raise ShapeError(f"the block was given inputs of shape {shape}, but it takes shape (time, features)")
        return {
            name: part.params((shape[0], self._hidden(shape[1])) if name == "narrow" else shape)
            for name, part in self._parts(shape[1]).items()
        }

    def apply(
        self,
        params: Tree,
        state: Tree,
        x: Array,
        *,
        training: bool = False,
        key: Any = None,
        mask: Array | None = None,
    ) -> tuple[Array, Tree]:
        """The same shape; for ``mask`` see :meth:`MultiHeadAttention.apply`."""
        parts = self._parts(x.shape[-1])
        keys = ops.split_key(key, 3) if training and self.draws and key is not None else (None, None, None)
        drop = Dropout(self.dropout) if self.dropout > 0 else None

        def run(name: str, x: Array, **how: Any) -> Array:
            return parts[name].apply(params[name], {}, x, **how)[0]

        def dropped(x: Array, own: Any) -> Array:
            return x if drop is None else drop.apply({}, {}, x, training=training, key=own)[0]

        def attend(x: Array) -> Array:
            return dropped(run("attention", x, training=training, key=keys[0], mask=mask), keys[1])

        def dense(x: Array) -> Array:
            return dropped(run("narrow", run("widen", x)), keys[2])

        if self.norm == "pre":
            x = x + attend(run("attention_norm", x))
            return x + dense(run("dense_norm", x)), state
        x = run("attention_norm", x + attend(x))
        return run("dense_norm", x + dense(x)), state
