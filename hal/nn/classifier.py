"""Base class of models that learn from labels, with the loss, the metrics and the parameters already defined."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hal import ops
from hal.nn.layer import Layer
from hal.nn.model import LossOutput, Model, Objective
from hal.nn.tasks import Classes, TargetTask, task_of
from hal.types import Array, Tree

if TYPE_CHECKING:
    from hal.data import Dataset

__all__ = ["Classifier"]


class Classifier(Model):
    """A classifier that is trained on the mean cross-entropy and evaluated by its accuracy.

    A subclass says which data it wants and sets :attr:`net`, a layer from inputs (batch, ...) to logits
    (batch, classes). One that is more than a layer overrides :meth:`params`, :meth:`state` and :meth:`logits` instead.
    Logits may also be (batch, ..., classes) for labels (batch, ...), such as a character at each step.

    With :attr:`outputs` outputs instead of ``data.classes``, the same model also learns numbers or tags, where the
    data has those (:mod:`hal.nn.tasks`).

    Attributes:
        task: what the labels are: a class, numbers or tags.
        outputs: how many outputs the task needs.
    """

    metric: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "max")

    net: Layer
    """The layer that maps inputs to logits."""

    task: TargetTask = Classes(10)

    smoothing: float = 0.0
    """See :meth:`with_label_smoothing`."""

    def __init__(self, config: Any, data: Dataset) -> None:
        super().__init__(config, data)
        self.task = task_of(data)
        self.outputs = self.task.outputs

    def chosen_metric(self) -> tuple[str, Literal["max", "min"]]:
        """The metric of the task, unless the labels are classes."""
        return super().chosen_metric() if self.task.metric == Classifier.metric else self.task.metric

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

    @property
    def takes_weights(self) -> bool:
        """Whether the loss is hal's own, which weighs samples."""
        return type(self).loss is Classifier.loss

    def with_label_smoothing(self, share: float) -> Self:
        """The same model, trained on smoothed targets."""
        if not self.takes_weights:
            return super().with_label_smoothing(share)
        smoothed = copy.copy(self)
        smoothed.smoothing = share
        return smoothed

    def loss(self, params: Tree, state: Tree, batch: Mapping[str, Array], key: Any) -> tuple[Array, LossOutput]:
        """The mean loss of a batch, in training mode; samples count by ``weights`` where the batch has them."""
        found, after = self.logits(params, state, batch["inputs"], training=True, key=key)
        losses = self.task.losses(found, batch["labels"], self.smoothing)
        if "weights" in batch:
            losses = losses * batch["weights"]
        return ops.mean(losses), LossOutput(after, {})

    def predict(self, params: Tree, state: Tree, inputs: Array) -> Array:
        """Logits (batch, classes), or (batch, ..., classes); where the labels are numbers, those (batch, numbers)."""
        return self.task.predicted(self.logits(params, state, inputs)[0])

    def evaluate(self, params: Tree, state: Tree, batch: Mapping[str, Array]) -> Mapping[str, Array]:
        """Loss and metrics of each sample; their means over the labels if a sample has several labels."""
        return self.task.evaluate(self.logits(params, state, batch["inputs"])[0], batch["labels"])

    def scores(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """The metrics of the task."""
        return self.task.scores(means)
