"""Predictions for many inputs: they are read, computed and handed on at the same time."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal.after.inputs import FoundInputs, batches_of
from hal.after.parts import InputBatch
from hal.after.predictions import Prediction
from hal.after.trained import Trained
from hal.data.pictures import grid_png
from hal.errors import ConfigError
from hal.measure import on_host
from hal.util.files import write_folder
from hal.util.readahead import read_ahead

__all__ = ["Outcome", "predict_inputs", "write_samples"]

_TILES = 8
"""Samples in a row of the picture that shows all of them."""

_TURN_S = 0.2
"""How long batches are read before the model computes them, where both share the cores."""


@dataclass
class Outcome:
    """What came of many inputs.

    Attributes:
        done: inputs with a prediction.
        failed: inputs without one.
        seconds: from the first input to the last.
        reading_seconds: of these, what reading took; where a thread reads ahead, the model computes meanwhile.
    """

    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    reading_seconds: float = 0.0


def predict_inputs(trained: Trained, found: FoundInputs, top: int, tell: Callable[[list[Prediction]], None]) -> Outcome:
    """Predict all inputs; those that cannot be read are told among the others.

    Args:
        trained: the model.
        found: the inputs.
        top: how many classes to give of each.
        tell: called with some predictions at a time, in the order of the inputs.

    Raises:
        HalError: the backend failed.
    """
    outcome, began = Outcome(), time.perf_counter()
    waiting: deque[InputBatch] = deque()

    def emit(batch: InputBatch, outputs: Any) -> None:
        rows = trained.explain(batch.names, outputs, top) if outputs is not None else []
        lost = [Prediction(name, error=_said(error)) for name, error in batch.errors]
        outcome.done += len(rows)
        outcome.failed += len(lost)
        tell(rows + lost)

    def ready(batches: Iterator[InputBatch]) -> Iterator[Any]:
        for batch in batches:
            outcome.reading_seconds += batch.seconds
            waiting.append(batch)
            if len(batch.names):
                yield batch.inputs

    with trained.ready(), contextlib.closing(_batches(found, trained)) as batches:
        for outputs in trained.stream(ready(batches)):
            while not len(waiting[0].names):
                emit(waiting.popleft(), None)
            emit(waiting.popleft(), outputs)
        while waiting:
            emit(waiting.popleft(), None)
    outcome.seconds = time.perf_counter() - began
    return outcome


def _batches(found: FoundInputs, trained: Trained) -> Generator[InputBatch, None, None]:
    """The inputs, read ahead of their use, unless the model computes on the very cores that read them.

    There the threads of an op wait for the one whose core reads, and both together take longer than each in turn.
    """
    device, threads = trained.job.device, trained.job.plan.threads
    if on_host(device) and (threads is None or threads >= (device.compute_units or 1)):
        yield from _in_turn(batches_of(found, trained))
        return
    with contextlib.closing(read_ahead(batches_of(found, trained), _itself)) as ahead:
        yield from ahead


def _in_turn(batches: Iterator[InputBatch]) -> Iterator[InputBatch]:
    """Batches that were read for a while, then the next ones: the threads of the model go to sleep between."""
    held: list[InputBatch] = []
    until = time.perf_counter() + _TURN_S
    for batch in batches:
        held.append(batch)
        if time.perf_counter() >= until:
            yield from held
            held, until = [], time.perf_counter() + _TURN_S
    yield from held


def _itself(batch: InputBatch) -> InputBatch:
    return batch


def _said(error: Any) -> str:
    return f"{error.message} ({error.fix})" if error.fix else str(error.message)


def write_samples(trained: Trained, count: int, seed: int, folder: Path) -> list[Path]:
    """Make samples and write them as pictures: one file each, and all of them as tiles of one.

    Args:
        trained: a model that makes images.
        count: how many.
        seed: decides which.
        folder: a new one.

    Returns:
        The files, that of all samples first.

    Raises:
        ConfigError: the model makes no images.
        OSError: a file cannot be written.
    """
    images = trained.samples(count, seed)
    if images.ndim != 4 or images.shape[3] > 4:
        raise ConfigError(
            f"model={trained.setup.workload.model} makes samples of shape {images.shape[1:]}, which are no pictures",
            fix="use hal.load(RUN).samples(count) to get them as arrays",
        )
    digits = len(str(count))
    files = {"samples.png": grid_png(images, min(_TILES, count))}
    files |= {f"sample-{n + 1:0{digits}d}.png": grid_png(images[n : n + 1], 1) for n in range(count)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder(folder, files)
    return [folder / name for name in files]
