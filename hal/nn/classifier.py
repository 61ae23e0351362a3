"""Base class of models that classify their inputs, with the loss, the metrics and the parameters already defined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from hal import ops
from hal.nn.layer import Layer
from hal.nn.model import LossOutput, Model, Objective
from hal.types import Array, Tree

__all__ = ["Classifier"]


class Classifier(Model):
    """A classifier that is trained on the mean cross-entropy and evaluated by its accuracy.

    A subclass says which data it wants and sets :attr:`net`, a layer from inputs (batch, ...) to logits
    (batch, classes). One that is more than a layer overrides :meth:`params`, :meth:`state` and :meth:`logits` instead.
    Logits may also be (batch, ..., classes) for labels (batch, ...), such as a character at each step.
    """

    metric: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "max")

    net: Layer
    """The layer that maps inputs to logits."""

    def params(self) -> dict[str, Any]:
        """The parameters of the net."""
        return {"net": self.net.params(self.input_shape)}

    def state(self) -> dict[str, Any]:
        """The state of the net, if it has any."""
        found = self.net.state(self.input_shape)
        return {"net": found} if found else {}

    def logits(
        self, params: Tree, state: Tree, inputs: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The logits and the new state.

        Args:
            params: values for :meth:`params`.
            state: values for :meth:`state`.
            inputs: (batch, ...).
            training: whether dropout drops and statistics are those of the batch.
            key: random key when training.

        Returns:
            (batch, classes), or (batch, ..., classes), and the state.
        """
        found, after = self.net.apply(params["net"], state.get("net", {}), inputs, training=training, key=key)
        return found, ({"net": after} if after else state)

    def objectives(self) -> tuple[Objective, ...]:
        """A single objective: the cross-entropy, which trains all parameters."""
        return (Objective("classify", self.loss),)

    def loss(self, params: Tree, state: Tree, batch: Mapping[str, Array], key: Any) -> tuple[Array, LossOutput]:
        """The mean cross-entropy of a batch, in training mode."""
        found, after = self.logits(params, state, batch["inputs"], training=True, key=key)
        return ops.mean(ops.cross_entropy(found, batch["labels"])), LossOutput(after, {})

    def predict(self, params: Tree, state: Tree, inputs: Array) -> Array:
        """Logits (batch, classes), or (batch, ..., classes)."""
        return self.logits(params, state, inputs)[0]

    def evaluate(self, params: Tree, state: Tree, batch: Mapping[str, Array]) -> Mapping[str, Array]:
        """Loss and accuracy of each sample; their means over the labels if a sample has several labels."""
        found = self.predict(params, state, batch["inputs"])
        loss = ops.cross_entropy(found, batch["labels"])
        right = ops.cast(ops.argmax(found, axis=-1) == batch["labels"], loss.dtype)
        if len(loss.shape) > 1:
            axes = tuple(range(1, len(loss.shape)))
            loss, right = ops.mean(loss, axis=axes), ops.mean(right, axis=axes)
        return {"loss": loss, "accuracy": right}
