"""Outputs of a trained model for new inputs, on any backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hal.errors import ShapeError
from hal.job.carry import place_for_inference
from hal.job.errors import classified
from hal.job.placing import put_batch
from hal.job.prepare import prepare
from hal.job.step import inference
from hal.run.resuming import find_resume_point, resumed

__all__ = ["predict"]


def predict(folder: str | Path, inputs: np.ndarray, keys: Mapping[str, Any]) -> np.ndarray:
    """Outputs of the model that a run trained.

    Args:
        folder: of a run, or of one checkpoint.
        inputs: (batch, ...), as the model's data source gives them: images in [0, 1].
        keys: keys of ``hal run`` that differ from the run's, for example backend or precision.

    Returns:
        What the model's ``predict`` gives, (batch, ...).

    Raises:
        ShapeError: the inputs are not in the model's shape.
        HalError: the checkpoint is damaged, or the backend is not here.
    """
    config = resumed({"parallel": "none", **keys, "resume": str(folder)})
    job = prepare(config, "infer")
    if tuple(inputs.shape[1:]) != job.model.input_shape and job.model.supervised:
        raise ShapeError(f"the inputs have shape {inputs.shape}, but the model takes (batch, *{job.model.input_shape})")
    carry = find_resume_point(str(folder)).checkpoint.carry
    with classified(job.backend), job.backend.settings(job.plan, job.device):
        params, state = place_for_inference(job, carry["params"], carry.get("state", {}))
        run = inference(job.backend, job.model, job.plan, job.params)
        return job.backend.to_host(run(params, state, put_batch(job, {"inputs": inputs})["inputs"]))
