"""What a run learns from, in a few lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hal.data.spec import Columns, Dataset, Field, Split

__all__ = ["summary"]

_LISTED = 10


def summary(split: Split) -> tuple[str, ...]:
    """The shape of the inputs, the classes by name with their samples, and what was left out.

    >>> from hal.data import Wanted, load
    >>> print(summary(load("digits", Wanted("image", (8, 8, 1))))[0])
    inputs: 8×8×1, float32
    """
    return tuple(_lines(split))


def _lines(split: Split) -> Iterator[str]:
    train = split.train
    shape = _shape(train.inputs)
    if train.vocabulary:
        yield f"inputs: windows of {shape} characters, of {len(train.vocabulary):,} different ones"
    elif train.parts:
        yield "inputs: " + ", ".join(f"{name} {_shape(part)}, {part.dtype}" for name, part in train.parts.items())
    elif train.tokens:
        yield f"inputs: texts, the first {shape} {train.tokens} of each"
    else:
        yield f"inputs: {shape}, {train.inputs.dtype}"
    if train.targets is not None:
        yield from _numbers(train.targets)
    elif train.task == "tags":
        yield f"{_tags(train.classes or 0)}: {_some(train.class_names)}"
    counts, held_counts = train.counts(), split.validation.counts()
    if counts is not None:
        yield from _classes(train, counts, held_counts)
    yield from split.notes
    if split.skipped:
        lines = "1 sample is" if len(split.skipped) == 1 else f"{len(split.skipped):,} samples are"
        yield f"skipped: {lines} damaged; the first: {split.skipped[0]}"


def _numbers(targets: Columns) -> Iterator[str]:
    for name, mean, scale in zip(targets.names[:_LISTED], targets.means, targets.scales, strict=False):
        yield f"to predict: {name}, a number of mean {mean:.4g} and deviation {scale:.4g}"


def _tags(count: int) -> str:
    return "1 tag" if count == 1 else f"{count:,} tags"


def _shape(field: Field) -> str:
    return "×".join(map(str, field.shape)) or "one number"


def _classes(train: Dataset, counts: np.ndarray, held: np.ndarray | None) -> Iterator[str]:
    names = train.class_names or tuple(map(str, range(len(counts))))
    mark = "" if train.class_names and not all(name.isdigit() for name in names) else ":"
    listed = [
        f"{name}{mark} {count:,}" + ("" if held is None else f"+{held[index]:,}")
        for index, (name, count) in enumerate(zip(names, counts, strict=False))
    ]
    what = "samples" if held is None else "training + validation samples"
    yield f"{_counted(len(counts), 'class')} ({what}): {_some(listed)}"
    if held is None:
        return
    for part, missing in (("training", counts == 0), ("validation", held == 0)):
        if missing.any():
            absent = [name for name, gone in zip(names, missing, strict=False) if gone]
            yield f"without {part} samples: {_counted(len(absent), 'class')} ({_some(absent)})"


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}es"


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"
