"""What a trained model says of one input, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Prediction", "Score", "class_scores", "present_tags"]

_PRESENT = 0.5
"""From this probability on, a tag is present."""


class Score(NamedTuple):
    """A class and its probability.

    Attributes:
        label: name of the class; its number where the classes have no names.
        number: of the class.
        probability: from 0 to 1.
    """

    label: str
    number: int
    probability: float


class Prediction(NamedTuple):
    """What a trained model says of one input.

    Attributes:
        input: which one: a file as the user named it, or the number of a sample.
        top: the most probable classes, the best first; empty for a model without classes.
        values: the outputs of a model without classes; None for one with classes.
        error: why there is no prediction; empty: there is one.
        names: of the values: the columns that the model learned to predict; empty: they have none.
        tags: those that are present, in the order of the columns; None: the model does not predict tags. Then ``top``
            has the most probable tags, whether they are present or not.
    """

    input: str
    top: tuple[Score, ...] = ()
    values: Any = None
    error: str = ""
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """Name of the most probable class, or of the most probable tag, which need not be present.

        Raises:
            IndexError: the model has no classes.
        """
        return self.top[0].label

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        if self.error:
            return {"input": self.input, "error": self.error}
        if not self.top:
            values = dict(zip(self.names, self.values, strict=True)) if self.names else self.values
            return {"input": self.input, "values": values}
        top = [{"label": s.label, "class": s.number, "probability": s.probability} for s in self.top]
        chosen: dict[str, Any] = top[0] if self.tags is None else {"tags": list(self.tags)}
        return {"input": self.input, **chosen, "top": top}


def present_tags(probabilities: np.ndarray, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The tags of each sample whose probability is at least 0.5.

    Args:
        probabilities: (batch, tags).
        names: of the tags; empty: they have none.
    """
    labels = _labels(names, probabilities.shape[1])
    return [tuple(labels[at] for at in np.flatnonzero(row >= _PRESENT)) for row in probabilities]


def class_scores(probabilities: np.ndarray, names: Sequence[str], count: int) -> list[tuple[Score, ...]]:
    """The most probable classes of each sample, the best first; of equal ones the class of the lower number.

    Args:
        probabilities: (batch, classes).
        names: of the classes; empty: they have none.
        count: how many classes to give, of those that there are.
    """
    labels = _labels(names, probabilities.shape[1])
    if count == 1:
        likeliest = probabilities.argmax(axis=1)
        highest = probabilities[np.arange(len(likeliest)), likeliest]
        return [(Score(labels[i], i, p),) for i, p in zip(likeliest.tolist(), highest.tolist(), strict=True)]
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    best = np.take_along_axis(probabilities, order, axis=1)
    numbers = order.ravel().tolist()
    # One call for all scores of a batch takes half the time of one for each row: the model waits meanwhile.
    scores = map(Score, map(labels.__getitem__, numbers), numbers, best.ravel().tolist())
    return list(zip(*[scores] * order.shape[1], strict=True))


def _labels(names: Sequence[str], count: int) -> list[str]:
    return list(names) or [str(index) for index in range(count)]
