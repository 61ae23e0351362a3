"""A transformer: writes text character by character, or puts a text or a sequence into a class."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from hal import nn, ops
from hal.data import Bytes, Dataset, Wanted
from hal.errors import ConfigError
from hal.models._pooling import masked_mean
from hal.models._writing import writing_report
from hal.types import Array, Tree

__all__ = ["Transformer"]

_ROTARY_BASE = 10000.0
_TOKENS = Bytes()
_INSTEAD = {
    "text": "model.task=text",
    "document": "model.task=classify",
    "sequence": "model.task=classify model.inputs=features",
}


class TransformerConfig(nn.ModelConfig):
    """Keys of the transformer."""

    task: Literal["text", "classify"] = Field(
        default="text",
        description="What the model learns: text (to predict the next character) or classify (the class of a text or "
        "of a sequence).",
    )
    inputs: Literal["tokens", "features"] = Field(
        default="tokens",
        description="What the model reads for task=classify: tokens (the bytes of a text) or features (a sequence of "
        "numbers).",
    )
    layers: int = Field(default=3, ge=1, description="Number of transformer blocks.")
    width: int = Field(default=96, ge=2, description="Features of each position between the blocks.")
    heads: int = Field(default=4, ge=1, description="Attention heads of the queries. They divide the width evenly.")
    key_heads: int | None = Field(
        default=None,
        ge=1,
        description="Attention heads of the keys and values, a divisor of model.heads. Default: model.heads.",
    )
    hidden: int | None = Field(
        default=None, ge=1, description="Units of the first dense layer in a block. Default: four times the width."
    )
    norm: Literal["pre", "post"] = Field(
        default="pre", description="Where a block normalizes: pre (before each of its parts) or post (after them)."
    )
    positions: Literal["rotary", "learned", "sinusoidal", "none"] = Field(
        default="rotary",
        description="How the model knows the order of its inputs: rotary, learned, sinusoidal or none.",
    )
    pooling: Literal["mean", "max", "first"] = Field(
        default="mean",
        description="How the positions become one vector for task=classify: their mean, their maximum, or the first "
        "position alone.",
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout rate in the blocks. Default: 0 for task=text, 0.1 for task=classify.",
    )
    length: int | None = Field(
        default=None,
        ge=2,
        description="Characters in a training window for task=text (default 128), or the most bytes of a text that are "
        "read for task=classify (default 256).",
    )
    steps: int = Field(default=8, ge=1, description="Time steps in a sequence, for inputs=features.")
    features: int = Field(default=8, ge=1, description="Features of a time step, for inputs=features.")
    temperature: float = Field(
        default=0.7,
        gt=0,
        description="Sampling temperature of the generated text. Lower values choose likely characters more often.",
    )
    sample: int = Field(
        default=300, ge=0, description="Length of the text that is generated at the end of a run, in characters."
    )

    @model_validator(mode="after")
    def _fits(self) -> TransformerConfig:
        # Raised as they are, not as ValueError, so that whoever makes a config by hand gets hal's error too.
        if self.width % self.heads:
            raise ConfigError(
                f"model.width={self.width} cannot be divided among model.heads={self.heads}",
                fix=f"use a width that is a multiple of {self.heads}, or other heads",
            )
        if self.key_heads is not None and self.heads % self.key_heads:
            raise ConfigError(
                f"model.heads={self.heads} is not a multiple of model.key_heads={self.key_heads}",
                fix="use a divisor of model.heads for model.key_heads",
            )
        if self.positions == "rotary" and (self.width // self.heads) % 2:
            raise ConfigError(
                f"model.positions=rotary needs an even number of features in a head, but model.width={self.width} with "
                f"model.heads={self.heads} gives {self.width // self.heads}",
                fix="use another width or other heads, or model.positions=learned",
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise ConfigError(
                f"model.positions=sinusoidal needs an even width, but model.width={self.width}",
                fix="use an even width, or model.positions=learned",
            )
        return self

    @property
    def window(self) -> int:
        """Characters or bytes of an input."""
        return self.length or (128 if self.task == "text" else 256)


class Transformer(nn.Classifier):
    """Embedding or dense layer, positions, blocks, pooling (classify), dense."""

    Config = TransformerConfig
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=20, lr=1e-3, batch=32)

    def __init__(self, config: TransformerConfig, data: Dataset) -> None:
        super().__init__(config, data)
        self.text = config.task == "text"
        self.tokens = self.text or config.inputs == "tokens"
        self.vocabulary = data.vocabulary
        classes = len(data.vocabulary) if self.text else self.outputs
        entries = len(data.vocabulary) if self.text else _TOKENS.size
        usual = 0.0 if self.text else 0.1
        dropout = usual if config.dropout is None else config.dropout
        self.entry: nn.Layer = nn.Embedding(entries, config.width) if self.tokens else nn.Dense(config.width)
        self.positions: nn.Layer | None = {
            "learned": nn.LearnedPositions(self.input_shape[0]),
            "sinusoidal": nn.SinusoidalPositions(),
        }.get(config.positions)
        block = nn.TransformerBlock(
            heads=config.heads,
            hidden=config.hidden,
            norm=config.norm,
            key_heads=config.key_heads,
            causal=self.text,
            rotary=_ROTARY_BASE if config.positions == "rotary" else None,
            dropout=dropout,
        )
        self.blocks = {f"block_{index}": block for index in range(config.layers)}
        self.norm = nn.LayerNorm() if config.norm == "pre" else None
        self.head = nn.Dense(classes)

    @classmethod
    def wanted(cls, config: TransformerConfig) -> Wanted:
        """Text windows, texts as bytes, or sequences (steps, features)."""
        if config.task == "text":
            return Wanted("text", (config.window,), instead=_INSTEAD)
        if config.inputs == "tokens":
            return Wanted("document", (config.window,), _TOKENS, _INSTEAD)
        return Wanted("sequence", (config.steps, config.features), instead=_INSTEAD)

    @classmethod
    def defaults_for(cls, config: TransformerConfig) -> nn.Defaults:
        """Text trains on Python's manual, classification on docstrings or digits."""
        if config.task == "text":
            return nn.Defaults(epochs=10, lr=3e-3, batch=32, data="topics")
        return nn.Defaults(epochs=20, lr=1e-3, batch=32, data="docstrings" if config.inputs == "tokens" else "digits")

    @classmethod
    def metric_for(cls, config: TransformerConfig) -> tuple[str, Literal["max", "min"]]:
        """Nats a character, or accuracy."""
        return ("loss", "min") if config.task == "text" else cls.metric

    def params(self) -> dict[str, Any]:
        """Embedding or dense layer, positions that are learned, blocks, the last normalization, and the head."""
        inside = (self.input_shape[0], self.config.width)
        parts = {"entry": self.entry.params(() if self.tokens else self.input_shape)}
        if self.positions is not None and (found := self.positions.params(inside)):
            parts["positions"] = found
        parts |= {name: block.params(inside) for name, block in self.blocks.items()}
        if self.norm is not None:
            parts["norm"] = self.norm.params(inside)
        return {**parts, "head": self.head.params((self.config.width,))}

    def state(self) -> dict[str, Any]:
        """None: no layer updates statistics."""
        return {}

    def logits(
        self, params: Tree, state: Tree, inputs: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """Logits: (batch, time, characters) for text, (batch, classes) for sequences and texts with a class."""
        there = inputs != _TOKENS.padding if self.tokens and not self.text else None
        mask = None if there is None else ops.reshape(there, (inputs.shape[0], 1, 1, inputs.shape[1]))
        x, _ = self.entry.apply(params["entry"], {}, inputs)
        if self.positions is not None:
            x, _ = self.positions.apply(params.get("positions", {}), {}, x)
        for index, (name, block) in enumerate(self.blocks.items()):
            own = ops.fold_in(key, index) if training and block.draws and key is not None else None
            x, _ = block.apply(params[name], {}, x, training=training, key=own, mask=mask)
        if self.norm is not None:
            x, _ = self.norm.apply(params["norm"], {}, x)
        if not self.text:
            x = self._pooled(x, there)
        return self.head.apply(params["head"], {}, x)[0], state

    def _pooled(self, x: Array, there: Array | None) -> Array:
        """One vector for each sample, (batch, features), of the positions that are no padding."""
        if self.config.pooling == "first":
            return x[:, 0, :]
        if there is None:
            return ops.mean(x, axis=1) if self.config.pooling == "mean" else ops.max(x, axis=1)
        there = ops.expand_dims(there, axis=-1)
        if self.config.pooling == "mean":
            return masked_mean(x, there)
        lowest = ops.filled(x.shape, -1e4, like=x)  # what every precision can hold, and below any normalized value
        return ops.max(ops.where(there, x, lowest), axis=1)

    def run_end(self, view: nn.TrainingView) -> nn.Report:
        """The bigram entropy to compare the loss with, and a sample of text."""
        if not self.text:
            return nn.Report()
        next_logits = self.next_logits(view.call, view.params, view.state)
        return writing_report(
            view, self.vocabulary, next_logits, count=self.config.sample, temperature=self.config.temperature
        )
