"""What a run learned from, as its checkpoint keeps it: enough to use the model, and to notice that the data changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hal.data.spec import Columns, Dataset, Split, Task
from hal.data.spec import Field as ArrayField
from hal.errors import ConfigError

__all__ = ["DataFacts", "RememberedData"]


class DataFacts(BaseModel):
    """The data of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="Where the samples came from, as the user wrote it.")
    input_shape: tuple[int, ...] = Field(description="Shape of one input, without the batch.")
    input_dtype: str = Field(description="Data type of the inputs: float32 or int64.")
    input_parts: dict[str, tuple[tuple[int, ...], str]] = Field(
        default_factory=dict, description="Shape and data type of each input by name, where a sample has several."
    )
    classes: int | None = Field(description="Number of classes or of characters; None if there are no labels.")
    class_names: tuple[str, ...] = Field(description="Name of each class; empty if the classes have no names.")
    vocabulary: str = Field(description="The character of each id, for text; otherwise empty.")
    tokens: str = Field(default="", description="How documents were split into tokens; otherwise empty.")
    task: Task = Field(default="classify", description="What the labels are: a class, numbers, or tags.")
    columns: Columns | None = Field(default=None, description="Of a table: the columns of the inputs and their scales.")
    targets: Columns | None = Field(default=None, description="Numbers as labels: their columns and scales.")
    value_range: tuple[float, float] | None = Field(
        default=None, description="Smallest and largest number of the inputs; None for images, text and documents."
    )
    train_samples: int
    validation_samples: int
    train_digest: str = Field(description="Digest of the training samples in their order.")
    validation_digest: str = Field(description="Digest of the validation samples in their order.")

    @classmethod
    def of(cls, split: Split) -> DataFacts:
        """The facts of a split."""
        train = split.train
        return cls(
            source=train.name,
            input_shape=train.inputs.shape,
            input_dtype=str(train.inputs.dtype),
            input_parts={name: (part.shape, str(part.dtype)) for name, part in train.parts.items()},
            classes=train.classes,
            class_names=train.class_names,
            vocabulary=train.vocabulary,
            tokens=train.tokens,
            task=train.task,
            columns=train.columns,
            targets=train.targets,
            value_range=train.value_range(),
            train_samples=len(train),
            validation_samples=len(split.validation),
            train_digest=train.digest(),
            validation_digest=split.validation.digest(),
        )

    def differences(self, now: DataFacts) -> list[str]:
        """What is different now, in sentences; empty: these are the same data, split in the same way.

        The name of the source does not count: data may have been moved.
        """
        found = []
        if self.input_shape != now.input_shape:
            found.append(f"the inputs had the shape {self.input_shape} and now have {now.input_shape}")
        if self.input_parts != now.input_parts:
            found.append(f"the inputs were {_listed(self.input_parts)} and are now {_listed(now.input_parts)}")
        for what, mine, its in (("inputs", self.columns, now.columns), ("labels", self.targets, now.targets)):
            names = [() if each is None else each.names for each in (mine, its)]
            if names[0] != names[1]:
                found.append(
                    f"the {what} were the columns {_columns_listed(names[0])} and are now {_columns_listed(names[1])}"
                )
        if self.task != now.task:
            found.append(f"the labels were for data.task={self.task} and are now for data.task={now.task}")
        elif self.class_names != now.class_names:
            found.append(_names_differ(self.class_names, now.class_names))
        elif self.classes != now.classes:
            found.append(f"there were {self.classes} classes and there are now {now.classes}")
        if self.vocabulary != now.vocabulary:
            found.append(
                f"the text had {len(self.vocabulary)} different characters and now has {len(now.vocabulary)}"
                if len(self.vocabulary) != len(now.vocabulary)
                else "the text consists of other characters"
            )
        if self.tokens != now.tokens:
            found.append(f"the texts consisted of {self.tokens or 'no tokens'} and now of {now.tokens or 'no tokens'}")
        for what, before, after in (
            ("training", (self.train_samples, self.train_digest), (now.train_samples, now.train_digest)),
            (
                "validation",
                (self.validation_samples, self.validation_digest),
                (now.validation_samples, now.validation_digest),
            ),
        ):
            if before[0] != after[0]:
                found.append(f"there were {before[0]:,} {what} samples and there are now {after[0]:,}")
            elif before[1] != after[1]:
                found.append(f"the {after[0]:,} {what} samples are different ones")
        return found


def _listed(parts: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in parts.items()) or "a single array"


def _columns_listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more if names else "of no table"


def _names_differ(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    gone, new = [n for n in before if n not in now], [n for n in now if n not in before]
    if gone and new:
        return f"the classes {', '.join(gone[:5])} are missing, and {', '.join(new[:5])} are new"
    if gone:
        return f"the classes {', '.join(gone[:5])} are missing"
    if new:
        return f"the classes {', '.join(new[:5])} are new"
    return "the classes are in another order"


class RememberedData(Dataset):
    """What a trained model needs to know of its data, without any samples.

    Args:
        facts: of the run that trained it.
    """

    def __init__(self, facts: DataFacts) -> None:
        self.name, self.classes = facts.source, facts.classes
        self.class_names, self.vocabulary = facts.class_names, facts.vocabulary
        self.tokens, self.task = facts.tokens, facts.task
        self.columns, self.targets = facts.columns, facts.targets
        self.inputs = ArrayField(facts.input_shape, np.dtype(facts.input_dtype))
        self.parts = {name: ArrayField(shape, np.dtype(dtype)) for name, (shape, dtype) in facts.input_parts.items()}
        self.labels = None if facts.classes is None else ArrayField((), np.dtype(np.int64))
        if facts.task != "classify":
            count = facts.classes if facts.targets is None else len(facts.targets.names)
            self.labels = ArrayField((count or 1,), np.dtype(np.float32))
        self._value_range = facts.value_range

    def __len__(self) -> int:
        return 0

    def value_range(self) -> tuple[float, float] | None:
        """See :meth:`Dataset.value_range`."""
        return self._value_range

    def take(self, indices: np.ndarray) -> NoReturn:
        """There are no samples."""
        raise ConfigError(
            f"the samples of data={self.name} are not stored with the trained model",
            fix="give the data again with data=...",
        )
