"""A recurrent network: writes text character by character, or puts a sequence into a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from hal import nn
from hal.data import Dataset, Wanted
from hal.models._writing import writing_report
from hal.nn.recurrent import Recurrent
from hal.types import Array, Tree

__all__ = ["RNN"]

CELLS: Mapping[str, type[Recurrent]] = {"simple": nn.SimpleRNN, "lstm": nn.LSTM, "gru": nn.GRU}


class RNNConfig(nn.ModelConfig):
    """Keys of the rnn."""

    cell: Literal["simple", "lstm", "gru"] = Field(default="lstm", description="Recurrent layer: simple, lstm or gru.")
    task: Literal["text", "classify"] = Field(
        default="text",
        description="What the model learns: text (to predict the next character) or classify (the class of a "
        "sequence).",
    )
    units: int = Field(default=256, ge=1, description="Units of the recurrent layer.")
    embedding: int = Field(default=64, ge=1, description="Size of the embedding of a character, for task=text.")
    length: int = Field(default=100, ge=2, description="Characters in a training window, for task=text.")
    steps: int = Field(default=8, ge=1, description="Time steps in a sequence, for task=classify.")
    features: int = Field(default=8, ge=1, description="Features of a time step, for task=classify.")
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout rate of the recurrent layer's outputs. Default: 0 for task=text, 0.5 for task=classify.",
    )
    temperature: float = Field(
        default=0.7,
        gt=0,
        description="Sampling temperature of the generated text. Lower values choose likely characters more often.",
    )
    sample: int = Field(
        default=300, ge=0, description="Length of the text that is generated at the end of a run, in characters."
    )


class RNN(nn.Classifier):
    """Embedding (text), one recurrent layer, dense."""

    Config = RNNConfig
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=30, lr=3e-3, batch=32)

    def __init__(self, config: RNNConfig, data: Dataset) -> None:
        super().__init__(config, data)
        self.text = config.task == "text"
        self.vocabulary = data.vocabulary
        classes = len(data.vocabulary) if self.text else self.outputs
        self.embedding = nn.Embedding(len(data.vocabulary), config.embedding)
        self.recurrent = CELLS[config.cell](config.units, sequence=self.text)
        usual = 0.0 if self.text else 0.5  # a thousand digits are soon learned by heart
        self.dropout = nn.Dropout(usual if config.dropout is None else config.dropout)
        self.head = nn.Dense(classes)

    @classmethod
    def wanted(cls, config: RNNConfig) -> Wanted:
        """Text windows, or sequences (steps, features)."""
        if config.task == "text":
            return Wanted("text", (config.length,))
        return Wanted("sequence", (config.steps, config.features))

    @classmethod
    def defaults_for(cls, config: RNNConfig) -> nn.Defaults:
        """Text trains on Python's documentation, classification on digits."""
        if config.task == "text":
            return nn.Defaults(epochs=10, lr=3e-3, batch=32, data="topics")
        return cls.defaults

    @classmethod
    def metric_for(cls, config: RNNConfig) -> tuple[str, Literal["max", "min"]]:
        """Nats a character, or accuracy."""
        return ("loss", "min") if config.task == "text" else cls.metric

    def params(self) -> dict[str, Any]:
        """Embedding (text), recurrent layer and head."""
        features = self.config.embedding if self.text else self.input_shape[-1]
        params = {
            "recurrent": self.recurrent.params((self.input_shape[0], features)),
            "head": self.head.params((self.config.units,)),
        }
        return {"embedding": self.embedding.params(()), **params} if self.text else params

    def state(self) -> dict[str, Any]:
        """None: no layer updates statistics."""
        return {}

    def objectives(self) -> tuple[nn.Objective, ...]:
        """Cross-entropy over all parameters."""
        return (nn.Objective("predict", self.loss),)

    def _embed(self, params: Tree, inputs: Array) -> Array:
        return self.embedding.apply(params["embedding"], {}, inputs)[0] if self.text else inputs

    def logits(
        self, params: Tree, state: Tree, inputs: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """Logits: (batch, time, characters) for text, (batch, classes) for sequences."""
        hidden, _ = self.recurrent.apply(params["recurrent"], {}, self._embed(params, inputs))
        hidden, _ = self.dropout.apply({}, {}, hidden, training=training, key=key)
        return self.head.apply(params["head"], {}, hidden)[0], state

    def continue_text(self, params: Tree, ids: Array, carry: Any) -> tuple[Array, Any]:
        """Logits after the last of some characters, ids (batch, time), and the carry to go on from."""
        hidden, carry = self.recurrent.run(params["recurrent"], self._embed(params, ids), carry)
        return self.head.apply(params["head"], {}, hidden[:, -1, :])[0], carry

    def next_logits(self, call: Callable[..., Any], params: Tree, state: Tree) -> Callable[[Sequence[int]], np.ndarray]:
        """See :meth:`hal.nn.Model.next_logits`; the state of the recurrent layer is kept from call to call."""
        carry: Any = None

        def next_logits(written: Sequence[int]) -> np.ndarray:
            nonlocal carry
            ids = np.array([written if carry is None else written[-1:]], np.int64)
            logits, carry = call(self.continue_text, params, ids, carry)
            found: np.ndarray = logits[0]
            return found

        return next_logits

    def run_end(self, view: nn.TrainingView) -> nn.Report:
        """The bigram entropy to compare the loss with, and a sample of text."""
        if not self.text:
            return nn.Report()
        next_logits = self.next_logits(view.call, view.params, view.state)
        return writing_report(
            view, self.vocabulary, next_logits, count=self.config.sample, temperature=self.config.temperature
        )
