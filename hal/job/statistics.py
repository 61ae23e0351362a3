"""Finds before a training that its batches are too small for batch statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hal import registry
from hal.errors import ShapeError
from hal.job.carry import shapes_of
from hal.job.prepare import Job

__all__ = ["check_statistics"]


def check_statistics(job: Job) -> None:
    """Compute the losses of a job once on shapes alone, where a part of a batch is a single sample.

    Two samples or more always give two values for each channel, and the last samples that fill no batch are left out,
    so only a single sample can be too few.

    Raises:
        ShapeError: batch normalization would be given one value for each channel.
    """
    if job.plan.batch > job.plan.accumulate:
        return
    null = registry.backend("null")
    device = null.devices()[0]

    def placed(shape: tuple[int, ...], dtype: Any) -> Any:
        return null.from_host(np.broadcast_to(np.zeros((), dtype), shape), device)

    def arrays(specs: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: arrays(inner) if isinstance(inner, Mapping) else placed(inner.shape, np.float32)
            for name, inner in specs.items()
        }

    params, state = arrays(shapes_of(job.params)), arrays(shapes_of(job.state))
    train, key = job.split.train, null.rng(0, device)
    batch = {"inputs": placed((1, *train.inputs.shape), train.inputs.dtype)}
    if train.labels is not None:
        batch["labels"] = placed((1, *train.labels.shape), train.labels.dtype)
    for phase in job.model.phases(1):
        try:
            inputs = batch["inputs"] if phase.features is None else phase.features(params, state, batch["inputs"])
            for objective in phase.objectives:
                objective.loss(params, state, {**batch, "inputs": inputs}, key)
        except ShapeError:
            raise
        except Exception:  # noqa: BLE001 - a model of a user's own may do what needs numbers
            continue
