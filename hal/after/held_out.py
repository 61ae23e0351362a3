"""What the best model of a run says about the samples that it was not trained on."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hal.data import DataFacts, Dataset, Task, batches
from hal.errors import CheckpointError, ConfigError
from hal.job.carry import differences, model_values, place_for_inference
from hal.job.errors import classified
from hal.job.placing import feeding
from hal.job.prepare import Job, prepare
from hal.job.step import inference
from hal.run import resumed
from hal.run.checkpoint import best
from hal.run.resuming import find_resume_point
from hal.run.saved import read_saved

__all__ = ["HeldOut", "Mistake", "look_at_held_out"]

_SHOWN = 24
_PICTURE_PIXELS = 96
_MOST_CLASSES = 1000
"""With more classes, a confusion matrix would need more memory than a page about it is worth."""


@dataclass(frozen=True)
class Mistake:
    """A held-out sample that the model is wrong about.

    Attributes:
        index: its number among the validation samples.
        wanted: its class, or its number.
        said: what the model says instead.
        share: the probability that the model gives to that; None for numbers.
        picture: a data URI; empty where the inputs are no pictures.
    """

    index: int
    wanted: str
    said: str
    share: float | None
    picture: str


@dataclass(frozen=True)
class HeldOut:
    """What the best model says about the validation samples.

    Attributes:
        task: what the labels are.
        names: of the classes, of the tags, or of the numbers.
        confusion: for classes, how many samples of each (row) were taken for each (column); (0, 0) otherwise.
        counts: for tags, of each: wanted and found, found alone, wanted alone; (tags, 3).
        wanted: for numbers, as the data have them, (samples, numbers).
        found: for numbers, what the model says, likewise.
        mistakes: the worst first.
        step: of the checkpoint.
    """

    task: Task
    names: tuple[str, ...]
    confusion: np.ndarray
    counts: np.ndarray
    wanted: np.ndarray
    found: np.ndarray
    mistakes: tuple[Mistake, ...]
    step: int


def look_at_held_out(folder: Path) -> HeldOut | None:
    """Run the best model of a run over the validation samples, on the backend that trained it.

    Args:
        folder: of the run.

    Returns:
        What it says; None where the samples have no labels of their own, as where a model writes text or draws.

    Raises:
        HalError: the data or the backend are not here, the data have changed, or the model gives something that
            cannot be compared with labels.
    """
    config = resumed({"resume": str(folder), "parallel": "none", "accumulate": 1})
    job = prepare(config, mode="infer")
    checkpoint = find_resume_point(str(folder), best).checkpoint
    saved = read_saved(checkpoint)
    changed = [] if saved.setup is None else saved.setup.data.differences(DataFacts.of(job.split))
    if changed:
        raise CheckpointError(f"the data are not those that the run learned from: {'; '.join(changed)}")
    params, state = model_values(checkpoint.carry)
    if found := differences(job.params, params):
        raise CheckpointError(found[0].describe("the checkpoint", job.workload.model))
    data = job.split.validation
    if not _has_labels(job, data):
        return None
    outputs, labels = _outputs(job, params, state, data)
    names = _names(data, outputs.shape[1])
    empty = np.zeros((0, 0))
    look = HeldOut(data.task, names, empty, empty, empty, empty, (), checkpoint.step)
    if data.task == "regress" and data.targets is not None:
        wanted = labels * np.asarray(data.targets.scales) + np.asarray(data.targets.means)
        return replace(look, wanted=wanted, found=outputs, mistakes=_farthest(data, outputs, wanted))
    if data.task == "tags":
        said, is_so = outputs > 0, labels > 0.5
        counts = np.stack([(said & is_so).sum(0), (said & ~is_so).sum(0), (~said & is_so).sum(0)], axis=1)
        return replace(look, counts=counts)
    if not job.model.gives_logits(data, outputs.shape):
        raise ConfigError(f"the {outputs.shape[1]} outputs of the model are no logits of the classes")
    said = outputs.argmax(-1)
    confusion = np.bincount(labels * len(names) + said, minlength=len(names) ** 2).reshape(len(names), len(names))
    return replace(look, confusion=confusion, mistakes=_worst(data, job.model.probabilities(outputs), labels, names))


def _has_labels(job: Job, data: Dataset) -> bool:
    """Whether each sample has a label of its own, which the model learns."""
    if not job.model.supervised or data.labels is None or data.vocabulary:
        return False
    if data.task == "classify" and data.labels.shape != ():
        return False
    if data.task == "classify" and (data.classes or 0) > _MOST_CLASSES:
        raise ConfigError(f"there are {data.classes:,} classes, and a matrix of at most {_MOST_CLASSES:,} is shown")
    return True


def _outputs(job: Job, params: Any, state: Any, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (samples, ...) in fp32 and labels (samples, ...)."""
    outputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    with classified(job.backend), job.backend.settings(job.plan, job.device):
        placed = place_for_inference(job, params, state)
        run = inference(job.backend, job.model, job.plan, job.params)
        host = batches(data, min(job.plan.batch, len(data)), seed=0, epoch=0, shuffle=False, drop_last=False)
        with feeding(job, host, data) as feed:
            for batch in feed:
                found = run(*placed, batch["inputs"])
                outputs.append(np.asarray(job.backend.to_host(found), np.float32))
                labels.append(np.asarray(job.backend.to_host(batch["labels"])))
    whole = np.concatenate(outputs)
    if whole.ndim != 2:
        raise ConfigError(f"the model gives outputs of shape {whole.shape}, not a few numbers for each sample")
    return whole, np.concatenate(labels)


def _names(data: Dataset, outputs: int) -> tuple[str, ...]:
    if data.targets is not None:
        return data.targets.names
    return data.class_names or tuple(map(str, range(outputs)))


def _worst(data: Dataset, shares: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> tuple[Mistake, ...]:
    """Samples taken for another class, the surest mistake first; shares are probabilities (samples, classes)."""
    said = shares.argmax(-1)
    wrong = np.flatnonzero(said != labels)
    order = wrong[np.argsort(-shares[wrong, said[wrong]], kind="stable")][:_SHOWN]
    pictures = _pictures(data, order)
    return tuple(
        Mistake(int(at), names[int(labels[at])], names[int(said[at])], float(shares[at, said[at]]), picture)
        for at, picture in zip(order, pictures, strict=True)
    )


def _farthest(data: Dataset, found: np.ndarray, wanted: np.ndarray) -> tuple[Mistake, ...]:
    """Samples whose numbers are the farthest off, by the deviation of each number."""
    scales = np.asarray(data.targets.scales if data.targets is not None else 1.0)
    order = np.argsort(-np.abs((found - wanted) / scales).max(-1), kind="stable")[:_SHOWN]

    def text(row: np.ndarray) -> str:
        return ", ".join(f"{value:.4g}" for value in row)

    return tuple(
        Mistake(int(at), text(wanted[at]), text(found[at]), None, picture)
        for at, picture in zip(order, _pictures(data, order), strict=True)
    )


def _pictures(data: Dataset, indices: np.ndarray) -> list[str]:
    """Data URIs of some samples; empty texts where they are no pictures."""
    shape = data.inputs.shape
    if len(indices) == 0 or data.parts or len(shape) != 3 or shape[2] not in (1, 3):
        return [""] * len(indices)
    return [picture_uri(image) for image in data.take(indices)["inputs"]]


def picture_uri(image: np.ndarray) -> str:
    """A picture as a PNG in a data URI, at most 96 pixels wide or high.

    Args:
        image: (height, width, 1 or 3) in [0, 1].
    """
    from PIL import Image

    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    made = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    made.thumbnail((_PICTURE_PIXELS, _PICTURE_PIXELS))
    out = io.BytesIO()
    made.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
