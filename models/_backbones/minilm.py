"""MiniLM-L6-H384 (Wang et al., arXiv 2002.10957), a BERT of 6 layers that was trained to compare sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hal import nn, ops
from hal.models._backbones.blocks import Backbone, Block
from hal.models._pooling import masked_mean
from hal.types import Array, Tree

__all__ = ["minilm"]

_LAYERS, _WIDTH, _HEADS, _HIDDEN = 6, 384, 12, 1536
_ENTRIES, _LONGEST, _PADDING = 30522, 512, 0
_EPSILON = 1e-12


@dataclass(frozen=True)
class Embed(nn.Layer):
    """The sum of the embeddings of token, position and kind of sentence, normalized.

    Gives (batch, time, features + 1): the last feature is 1 where there is a token and 0 where there is padding, so
    that what comes after needs no second input.
    """

    @property
    def takes_ids(self) -> bool:
        """Integers."""
        return True

    def _parts(self) -> dict[str, nn.Layer]:
        return {
            "words": nn.Embedding(_ENTRIES, _WIDTH),
            "positions": nn.LearnedPositions(_LONGEST),
            "kinds": nn.Embedding(2, _WIDTH),
            "norm": nn.LayerNorm(_EPSILON),
        }

    def params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Three tables and a normalization."""
        return {name: part.params((*shape, _WIDTH)) for name, part in self._parts().items()}

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, time, 385) of ids (batch, time)."""
        parts = self._parts()
        y, _ = parts["words"].apply(params["words"], {}, x)
        y, _ = parts["positions"].apply(params["positions"], {}, y)
        y, _ = parts["norm"].apply(params["norm"], {}, y + params["kinds"]["table"][0, :])
        there = ops.expand_dims(ops.astype(x != _PADDING, y.dtype), axis=-1)
        return ops.concat([y, there], axis=-1), state


@dataclass(frozen=True)
class Encode(nn.Layer):
    """A transformer block that looks at tokens alone; the last feature says which these are, and stays."""

    block: nn.TransformerBlock

    def params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Those of the block."""
        return self.block.params((shape[0], shape[1] - 1))

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape."""
        there = x[..., -1:]
        mask = ops.reshape(there > 0.5, (x.shape[0], 1, 1, x.shape[1]))
        y, _ = self.block.apply(params, {}, x[..., :-1], training=training, key=key, mask=mask)
        return ops.concat([y, there], axis=-1), state


@dataclass(frozen=True)
class Pool(nn.Layer):
    """The mean over the tokens, without the feature that says where they are."""

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """(batch, 384)."""
        return masked_mean(x[..., :-1], x[..., -1:] > 0.5), state


def minilm() -> Backbone:
    """Embeddings and 6 layers: 384 features."""
    embeddings = ("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm")
    layer = Encode(nn.TransformerBlock(_HEADS, _HIDDEN, norm="post", activation="gelu_exact", epsilon=_EPSILON))
    blocks = [Block("embed", Embed(), tuple(f"embeddings.{name}" for name in embeddings))]
    for index in range(_LAYERS):
        at = f"encoder.layer.{index}"
        joint = tuple(f"{at}.attention.self.{name}" for name in ("query", "key", "value"))
        others = (
            "attention.output.dense",
            "attention.output.LayerNorm",
            "intermediate.dense",
            "output.dense",
            "output.LayerNorm",
        )
        blocks.append(Block(f"block_{index}", layer, (joint, *(f"{at}.{name}" for name in others))))
    return Backbone("minilm", tuple(blocks), "sentence-transformers", len(blocks), Pool())
