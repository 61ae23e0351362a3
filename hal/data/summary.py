"""What a run learns from, in a few lines for people."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hal.data.spec import Dataset, Split

__all__ = ["summary"]

_LISTED = 10


def summary(split: Split) -> tuple[str, ...]:
    """The shape of the inputs, the classes by name with their samples, and what was left out.

    >>> from hal.data import Wanted, load
    >>> print(summary(load("digits", Wanted("image", (8, 8, 1))))[0])
    inputs 8×8×1 float32; 1,438 training samples, 359 validation samples
    """
    return tuple(_lines(split))


def _lines(split: Split) -> Iterator[str]:
    train, held = split.train, split.validation
    shape = "×".join(map(str, train.inputs.shape)) or "one number"
    yield f"inputs {shape} {train.inputs.dtype}; {len(train):,} training samples, {len(held):,} validation samples"
    if train.vocabulary:
        yield f"{len(train.vocabulary):,} different characters"
    counts, held_counts = train.counts(), held.counts()
    if counts is not None:
        yield _classes(train, counts, held_counts)
    yield from split.notes


def _classes(train: Dataset, counts: np.ndarray, held: np.ndarray | None) -> str:
    names = train.class_names or tuple(map(str, range(len(counts))))
    listed = [
        f"{name} {count:,}" + ("" if held is None else f"+{held[index]:,}")
        for index, (name, count) in enumerate(zip(names, counts, strict=False))
    ]
    more = f", and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
    what = "samples" if held is None else "training + validation samples"
    return f"{len(counts):,} classes ({what}): {', '.join(listed[:_LISTED])}{more}"
