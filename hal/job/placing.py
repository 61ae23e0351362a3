"""Puts a job's arrays on its devices: parameters, batches, and batches that are read ahead."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from hal.data import Dataset
from hal.job.prepare import Job
from hal.nn import Param
from hal.types import Array, Tree

__all__ = ["feeding", "place", "put_batch"]


def put_batch(job: Job, batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch on the device, stored as the plan says; its entries are arrays, or dicts of several by name."""
    return {name: _put(job, x) for name, x in batch.items()}


def _put(job: Job, x: Any) -> Any:
    if isinstance(x, Mapping):
        return {name: _put(job, inner) for name, inner in x.items()}
    return job.group.put_batch(x, axes=job.model.image_axes if x.ndim == 4 else "", layout=job.plan.layout)


@contextlib.contextmanager
def feeding(
    job: Job, batches: Iterable[Mapping[str, np.ndarray]], source: Dataset
) -> Iterator[Iterator[dict[str, Array]]]:
    """Batches on the device, read ahead of their use; whatever reads ahead ends with the block.

    Args:
        job: says where to.
        batches: host batches.
        source: where they come from. If it reads no files, and if the runtime does not overlap copies with compute,
            reading ahead in a thread would hide nothing, and nothing is read ahead.
    """
    if not (source.reads_files or job.backend.copies_ahead):
        yield (put_batch(job, batch) for batch in batches)
        return
    with contextlib.closing(job.backend.prefetch(batches, lambda batch: put_batch(job, batch), job.device)) as feed:
        yield feed


def place(job: Job, values: Tree, specs: Any, *, shard: bool = False) -> Tree:
    """Host values on the device, each stored as its :class:`~hal.nn.Param` and the plan say.

    Args:
        job: says where to.
        values: nested dicts of NumPy arrays.
        specs: nested dicts of Param in the same form, or {} for arrays whose axes mean nothing.
        shard: whether each is sharded as training keeps parameters, before the next one is placed.
    """
    if isinstance(values, Mapping):
        inner = specs if isinstance(specs, Mapping) else {}
        return {name: place(job, value, inner.get(name, {}), shard=shard) for name, value in values.items()}
    axes = specs.axes if isinstance(specs, Param) else ""
    array = job.group.put(values, axes=axes, layout=job.plan.layout)
    return job.group.shard_params(array) if shard else array
