"""Outputs of a trained model for new inputs, on any backend, from the folder of its run alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hal import registry
from hal.config import JobConfig, build
from hal.contract import Group
from hal.contract.plan import Plan
from hal.data import RememberedData, Split
from hal.errors import CheckpointError, ConfigError
from hal.job.carry import differences, model_values, place_for_inference
from hal.job.errors import classified
from hal.job.placing import put_batch
from hal.job.prepare import Job, pick_device, prepare_devices
from hal.job.step import inference
from hal.run.checkpoint import Checkpoint, best
from hal.run.resuming import find_resume_point
from hal.run.saved import SavedSetup, read_saved, require_trusted_model
from hal.workload import configure, model_class

__all__ = ["predict"]


def predict(folder: str | Path, inputs: Any, keys: Mapping[str, Any]) -> np.ndarray:
    """Outputs of the model that a run trained.

    Args:
        folder: of a run, or of one checkpoint; nothing else of the run is needed, neither its data nor a tuned plan.
        inputs: (batch, ...), see :func:`hal.data.convert.as_inputs` for what is taken and how it is converted.
        keys: ``backend``, ``device`` and keys of a plan that differ from the run's, for example ``precision``;
            ``model`` to allow a model whose code lies in a file that somebody else's folder names.

    Returns:
        What the model's ``predict`` gives, (batch, ...).

    Raises:
        InputError: the inputs are not what the model takes.
        HalError: the checkpoint is damaged, or the backend is not here.
    """
    checkpoint = find_resume_point(str(folder), best).checkpoint
    saved = read_saved(checkpoint)
    require_trusted_model(saved, "model" in keys, folder)
    if saved.setup is None:
        raise CheckpointError(
            f"{folder} was written by an earlier version of hal, which did not save everything that predicting needs",
            fix=f"continue the run for a step, which saves what is missing: hal run resume={folder}",
        )
    job = _job(saved.setup, checkpoint, keys, len(inputs) if hasattr(inputs, "__len__") else 1)
    batch = job.model.as_inputs(inputs, job.split.train)
    with classified(job.backend), job.backend.settings(job.plan, job.device):
        params, state = place_for_inference(job, *model_values(checkpoint.carry))
        run = inference(job.backend, job.model, job.plan, job.params)
        return job.backend.to_host(run(params, state, put_batch(job, {"inputs": batch})["inputs"]))


def _job(setup: SavedSetup, checkpoint: Checkpoint, keys: Mapping[str, Any], batch: int) -> Job:
    """The job of a trained model, without samples."""
    allowed = {"backend", "device", "model", *Plan.model_fields}
    if wrong := sorted(set(keys) - allowed):
        raise ConfigError(f"predict does not take the key {wrong[0]}", fix=f"it takes {', '.join(sorted(allowed))}")
    cls = model_class(setup.workload.model)
    model_keys = configure(cls, setup.workload.keys)
    data = RememberedData(setup.data)
    model = cls(model_keys, data)
    differ = differences(model.params(), checkpoint.carry["params"])
    if differ:
        raise CheckpointError(
            f"the checkpoint is of another model: {differ[0].describe('the checkpoint', setup.workload.model)}",
            fix="use the code of the model that was trained",
        )
    config = build(JobConfig, {name: value for name, value in keys.items() if name != "model"})
    named = "backend" in keys or "device" in keys
    backend = config.backend if named or setup.device.backend not in registry.names() else setup.device.backend
    prepare_devices(backend, 1)
    device = pick_device(backend, config.device)
    same = device.backend == setup.device.backend
    base = setup.plan if same else Plan(precision=setup.plan.precision)
    base = base.model_copy(update={"batch": max(1, batch), "accumulate": 1, "parallel": "none"})
    plan = config.over(base).resolve(device)
    return Job(
        backend=registry.require(device.backend),
        device=device,
        model=model.in_precision(plan.precision),
        params=model.params(),
        state=model.state(),
        split=Split(data, data),
        plan=plan,
        defaults=cls.defaults_for(model_keys),
        workload=setup.workload,
        group=Group(registry.require(device.backend), device),
    )
