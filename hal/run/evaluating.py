"""How good the model of a training is: means over the validation samples, and what the model itself looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optree

from hal.data import Dataset, Split, batches
from hal.job.carry import Carry, model_values, usable_params
from hal.job.placing import feeding, put_batch
from hal.job.precision import cast_inputs, cast_params
from hal.job.prepare import Job
from hal.nn import TrainedModel, TrainingView
from hal.types import Array

__all__ = ["evaluate_samples", "host_call", "view_training"]


def evaluate_samples(
    job: Job, carry: Carry, data: Dataset, evaluate: Callable[..., Mapping[str, Array]]
) -> dict[str, float]:
    """The metrics of a model over a data set; called by all processes of a run.

    Args:
        job: what runs where.
        carry: of the training, on its devices.
        data: the samples to evaluate.
        evaluate: what :func:`hal.job.step.evaluation` gives: sums over a batch.
    """
    batch = job.plan.batch
    values, state = model_values(carry)
    params = usable_params(job, values)
    # Where the processes divide a batch, each sums its own rows; other batches are whole in every process.
    divided: dict[str, Array] = {}
    alike: dict[str, Array] = {}
    host = batches(data, batch, seed=0, epoch=0, shuffle=False, drop_last=False, own=job.group.rows)
    with feeding(job, host, data) as feed:
        for index, arrays in enumerate(feed):
            found = evaluate(params, state, arrays)
            if not found:
                return {}
            sums = divided if job.group.spreads(min(batch, len(data) - index * batch)) else alike
            for name, value in found.items():
                sums[name] = sums[name] + value if name in sums else value
    totals: dict[str, float] = {}
    for sums in (job.group.sum(divided), alike):
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + float(job.backend.to_host(value))
    return dict(sorted(job.model.scores({name: value / len(data) for name, value in totals.items()}).items()))


def view_training(
    job: Job,
    carry: Carry,
    *,
    epoch: int,
    seed: int,
    split: Split,
    write: Callable[[str, bytes], Path],
    auxiliary: Mapping[str, TrainedModel],
) -> TrainingView:
    """What a model sees of its training; called by all processes of a run.

    Args:
        job: what runs where.
        carry: of the training, on its devices.
        epoch: epochs that are over.
        seed: of the run.
        split: the data.
        write: writes a file into the run's folder.
        auxiliary: the trained models that the job's model is judged by.
    """
    precision = job.plan.precision
    values, state = model_values(carry)
    return TrainingView(
        epoch=epoch + 1,
        params=cast_params(usable_params(job, values), job.params, precision),
        state=state,
        seed=seed + 1 + epoch,
        split=split,
        write=write,
        call=host_call(job),
        auxiliary={
            name: replace(each, params=cast_params(each.params, each.model.params(), precision))
            for name, each in auxiliary.items()
        },
    )


def host_call(job: Job) -> Callable[..., Any]:
    """``call(fn, *trees)``: a function of a model from the host and back; see :attr:`hal.nn.TrainingView.call`."""

    def put(x: Any) -> Any:
        return put_batch(job, {"x": x})["x"] if isinstance(x, np.ndarray) else x

    def call(fn: Callable[..., Any], *trees: Any) -> Any:
        precision = job.plan.precision
        given = [
            cast_inputs(job.model, optree.tree_map(put, tree), precision) if _on_host(tree) else tree for tree in trees
        ]
        return optree.tree_map(job.backend.to_host, fn(*given))

    return call


def _on_host(tree: Any) -> bool:
    return any(isinstance(leaf, np.ndarray) for leaf in optree.tree_leaves(tree))
