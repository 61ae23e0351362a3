"""What a supervised model learns from its labels: a class, numbers, or tags. Each gives the loss and the metrics."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from hal import ops
from hal.errors import ConfigError
from hal.types import Array

if TYPE_CHECKING:
    from hal.data import Dataset
    from hal.data.spec import Columns

__all__ = ["Classes", "Numbers", "Tags", "TargetTask", "task_of"]


class TargetTask(abc.ABC):
    """How outputs (batch, ..., outputs) are compared with labels.

    Attributes:
        outputs: how many numbers a model gives for a label.
        metric: the number that says how good a model is, and whether ``max`` or ``min`` is better.
    """

    outputs: int
    metric: ClassVar[tuple[str, Literal["max", "min"]]]

    @abc.abstractmethod
    def losses(self, outputs: Array, labels: Array, smoothing: float = 0.0) -> Array:
        """The loss of each label that a training minimizes, in fp32.

        Args:
            outputs: (batch, ..., outputs).
            labels: as the data give them.
            smoothing: share of the target that is spread over all classes.
        """

    @abc.abstractmethod
    def evaluate(self, outputs: Array, labels: Array) -> dict[str, Array]:
        """Numbers for each sample, (batch,), whose means :meth:`scores` takes."""

    def scores(self, means: Mapping[str, float]) -> dict[str, float]:
        """The metrics, from the means over all validation samples."""
        return dict(means)

    def predicted(self, outputs: Array) -> Array:
        """The outputs as somebody who uses the model gets them; logits stay logits."""
        return outputs


class Classes(TargetTask):
    """One class for each label: cross-entropy, and the accuracy.

    Args:
        outputs: how many classes there are.
    """

    metric: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "max")

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def losses(self, outputs: Array, labels: Array, smoothing: float = 0.0) -> Array:
        """The cross-entropy; with smoothing against ``1 - smoothing`` for the class and the rest for all alike."""
        found = ops.cross_entropy(outputs, labels)
        if smoothing:  # Szegedy et al., arXiv 1512.00567
            log_p = ops.log_softmax(ops.cast(outputs, found.dtype))
            found = found * (1 - smoothing) - ops.mean(log_p, axis=-1) * smoothing
        return found

    def evaluate(self, outputs: Array, labels: Array) -> dict[str, Array]:
        """Loss and accuracy; their means over the labels if a sample has several."""
        loss = ops.cross_entropy(outputs, labels)
        right = ops.cast(ops.argmax(outputs, axis=-1) == labels, loss.dtype)
        return {"loss": _each(loss), "accuracy": _each(right)}


class Tags(TargetTask):
    """Any number of tags for each sample, labels (batch, tags) of 0 and 1: binary cross-entropy, F1 and accuracy.

    Args:
        outputs: how many tags there are.
    """

    metric: ClassVar[tuple[str, Literal["max", "min"]]] = ("f1", "max")

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def losses(self, outputs: Array, labels: Array, smoothing: float = 0.0) -> Array:
        """The mean binary cross-entropy over the tags of each sample; smoothing moves targets towards one half."""
        return ops.mean(ops.sigmoid_cross_entropy(outputs, labels * (1 - smoothing) + smoothing / 2), axis=-1)

    def evaluate(self, outputs: Array, labels: Array) -> dict[str, Array]:
        """Loss, F1, the share of tags that are right, and whether all are.

        F1 is 1 where no tag is wanted and none is predicted.
        """
        loss = self.losses(outputs, labels)
        wanted = ops.cast(labels, loss.dtype)
        chosen = ops.cast(outputs > 0, loss.dtype)
        right = ops.cast(chosen == wanted, loss.dtype)
        both, any_of = ops.sum(chosen * wanted, axis=-1), ops.sum(chosen + wanted, axis=-1)
        none = ops.cast(any_of == 0, loss.dtype)
        return {
            "loss": loss,
            "f1": (2 * both + none) / (any_of + none),
            "accuracy": ops.mean(right, axis=-1),
            "exact": ops.min(right, axis=-1),
        }


class Numbers(TargetTask):
    """One number or several for each sample, labels (batch, numbers) that are scaled: the squared error.

    Args:
        columns: of the labels, with the means and deviations that scaled them.
    """

    metric: ClassVar[tuple[str, Literal["max", "min"]]] = ("r2", "max")

    def __init__(self, columns: Columns) -> None:
        self.outputs = len(columns.names)
        self._columns = columns

    def losses(self, outputs: Array, labels: Array, smoothing: float = 0.0) -> Array:
        """The mean squared error of a sample's scaled numbers."""
        return ops.mean(ops.squared_error(outputs, labels), axis=-1)

    def evaluate(self, outputs: Array, labels: Array) -> dict[str, Array]:
        """The loss, the errors in the units of the data, and what R2 needs of the labels."""
        squared = ops.squared_error(outputs, labels)
        wanted = ops.cast(labels, squared.dtype)
        found = {"loss": ops.mean(squared, axis=-1), "square": ops.mean(ops.square(wanted), axis=-1)}
        mse = mae = None
        for at, scale in enumerate(self._columns.scales):
            error = squared[:, at] * (scale**2 / self.outputs)
            distance = ops.sqrt(squared[:, at]) * (scale / self.outputs)
            mse, mae = (error, distance) if mse is None else (mse + error, mae + distance)
            found[f"mean {at}"] = wanted[:, at]
        return {**found, "mse": mse, "mae": mae}

    def scores(self, means: Mapping[str, float]) -> dict[str, float]:
        """R2 is 1 - (squared error) / (squared distance from the mean of the validation labels), of all numbers."""
        if "square" not in means:
            return dict(means)
        centre = sum(means[f"mean {at}"] ** 2 for at in range(self.outputs)) / self.outputs
        spread = means["square"] - centre
        r2 = 1 - means["loss"] / spread if spread > 0 else 0.0
        return {**{name: means[name] for name in ("loss", "mse", "mae")}, "r2": r2}

    def predicted(self, outputs: Array) -> Array:
        """Numbers in the units of the data, fp32."""
        wide = ops.cast(outputs, ops.namespace(outputs).float32)
        columns = zip(self._columns.means, self._columns.scales, strict=True)
        return ops.stack([wide[..., at] * scale + mean for at, (mean, scale) in enumerate(columns)], axis=-1)


def task_of(data: Dataset, usual: int = 10) -> TargetTask:
    """What a model of these data learns.

    Args:
        data: says so by the form of its labels.
        usual: number of classes where the data does not say it.

    Raises:
        ConfigError: the labels are numbers whose scale is unknown.
    """
    if data.task == "classify":
        return Classes(data.classes or usual)
    if data.task == "tags":
        return Tags(data.classes or usual)
    if data.targets is None:
        raise ConfigError(f"data={data.name} has numbers as labels, but not their scale", fix="set targets of the data")
    return Numbers(data.targets)


def _each(values: Array) -> Array:
    """The mean of each sample."""
    return ops.mean(values, axis=tuple(range(1, len(values.shape)))) if len(values.shape) > 1 else values
