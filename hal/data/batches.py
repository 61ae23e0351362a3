"""Gives a data set in batches, in an order that a resumed run repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from hal.data.spec import Dataset, generator
from hal.errors import ConfigError

__all__ = ["batches", "count_batches"]


def count_batches(samples: int, batch: int, *, drop_last: bool = True) -> int:
    """How many batches an epoch has.

    >>> count_batches(10, 4), count_batches(10, 4, drop_last=False)
    (2, 3)
    """
    return samples // batch if drop_last else -(-samples // batch)


def batches(
    dataset: Dataset,
    batch: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    drop_last: bool = True,
    start: int = 0,
    own: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """The batches of one epoch, each sample at most once.

    Args:
        dataset: the samples.
        batch: samples in a batch.
        seed: decides the order, together with the epoch and nothing else.
        epoch: its number, from 0.
        shuffle: whether to shuffle; otherwise the order is that of the data set.
        drop_last: whether to leave out the last samples where they do not fill a batch; all batches are alike then.
        start: the first batch to yield; a run that stopped after k batches of an epoch continues with start=k.
        own: which of a batch's samples, given by their indices, are taken; None: all.

    Returns:
        An iterator over batches as :meth:`Dataset.take` gives them.

    Raises:
        ConfigError: batch, epoch, seed or start is out of range; at the call, not at the first batch.
    """
    samples = len(dataset)
    if batch < 1:
        raise ConfigError(f"batch={batch} is smaller than 1", fix=f"use a batch from 1 to {samples}")
    if drop_last and batch > samples:
        raise ConfigError(
            f"batch={batch} is larger than the {samples} samples of data={dataset.name}",
            fix=f"use batch={samples} or less, or use more data",
        )
    count = count_batches(samples, batch, drop_last=drop_last)
    if not 0 <= start <= count:
        raise ConfigError(
            f"start={start} is out of range: an epoch of {samples} samples has {count} batches of {batch}",
            fix="resume with the batch size and the data that the run started with",
        )
    random = generator(seed, epoch)
    order = random.permutation(samples) if shuffle else np.arange(samples)
    return _walk(dataset.at_epoch(epoch), order, batch, range(start, count), own or (lambda samples: samples))


def _walk(
    dataset: Dataset, order: np.ndarray, batch: int, steps: range, own: Callable[[np.ndarray], np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    for step in steps:
        yield dataset.take(own(order[step * batch : (step + 1) * batch]))
