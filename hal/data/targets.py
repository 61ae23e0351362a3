"""Labels of any form: a class, numbers, or tags; which of them they are, and how they are checked and scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hal.data.arrays import check_labels
from hal.data.spec import Columns, Task
from hal.errors import DataError

__all__ = ["Targets", "TaskKey", "scales_of", "targets_of_array"]

TaskKey = Literal["auto", "classify", "regress", "tags"]


@dataclass(frozen=True)
class Targets:
    """What is to be learned, one row for each sample.

    Attributes:
        task: what the labels are.
        values: for a class integers (samples,); for numbers float64 (samples, numbers); for tags float64
            (samples, tags) of 0 and 1.
        names: of the classes, the numbers or the tags; may be empty for classes.
    """

    task: Task
    values: np.ndarray
    names: tuple[str, ...] = ()

    def rows(self, rows: np.ndarray) -> Targets:
        """Those of some samples."""
        return Targets(self.task, self.values[rows], self.names)

    @property
    def stratum(self) -> np.ndarray | None:
        """Classes of which a split holds back the same share each; None: there are no classes."""
        return self.values if self.task == "classify" else None


def targets_of_array(where: str, labels: np.ndarray, count: int, task: TaskKey) -> Targets:
    """Labels from an array.

    Args:
        where: names the array in an error.
        labels: as they were found.
        count: how many inputs there are.
        task: what the user says they are; ``auto`` takes classes.

    Raises:
        DataError: they are not what the user says.
    """
    if task in ("auto", "classify"):
        if task == "auto" and labels.dtype.kind == "f":
            raise DataError(
                f"{where} has labels of dtype {labels.dtype}",
                fix="store class numbers as integers, 0 or more; numbers to predict need data.task=regress",
            )
        return Targets("classify", check_labels(where, labels, count))
    values = labels[:, None] if labels.ndim == 1 else labels
    if values.ndim != 2 or len(values) != count or values.dtype.kind not in "biuf" or values.shape[1] == 0:
        raise DataError(
            f"{where} has labels of shape {labels.shape} and dtype {labels.dtype}, but data.task={task} needs numbers "
            f"of shape ({count},) or ({count}, N)",
            fix="store one number, or one row of numbers, for each sample",
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{where} has labels that are not finite", fix="remove those samples")
    names = tuple(map(str, range(values.shape[1])))
    if task == "tags":
        check_tags(where, values)
        return Targets("tags", values, names)
    return Targets("regress", values, ("y",) if len(names) == 1 else names)


def check_tags(where: str, values: np.ndarray) -> None:
    """Refuse tags that are neither there nor not.

    Raises:
        DataError: a value is neither 0 nor 1.
    """
    odd = values[(values != 0) & (values != 1)]
    if odd.size:
        raise DataError(
            f"{where} has the value {odd.flat[0]:g} as a tag, but tags are 0 or 1",
            fix="store 1 where a sample has the tag, or use data.task=regress to predict numbers",
        )


def scales_of(names: Sequence[str], values: np.ndarray) -> Columns:
    """The means and deviations that scale columns; one that never changes is only moved.

    Args:
        names: of the columns.
        values: float64 (samples, columns), of the training samples.
    """
    means, deviations = values.mean(axis=0), values.std(axis=0)
    deviations = np.where(deviations > 1e-12 * np.maximum(np.abs(means), 1e-300), deviations, 1.0)
    return Columns(tuple(names), tuple(map(float, means)), tuple(map(float, deviations)))
