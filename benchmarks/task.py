"""What all candidates train: a model's shape, its data and its first weights, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

__all__ = ["BATCH", "HYPER", "LR", "Data", "Model", "Task"]

Model = Literal["cnn", "lstm", "lstm-classify", "gan"]

BATCH: Mapping[Model, int] = {"cnn": 128, "lstm": 32, "lstm-classify": 128, "gan": 64}
"""Samples in a step unless the user says otherwise."""

LR = 1e-4
"""Low, so that nobody learns the noise by heart: at 2e-3, steps of the cnn on a batch that it knew by heart took 12%
more, presumably because vanishing gradients are denormal numbers."""

HYPER = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}
"""AdamW, for everyone."""

_KEYS: Mapping[Model, dict[str, Any]] = {
    "cnn": {"name": "cnn"},
    "lstm": {"name": "rnn", "cell": "lstm", "task": "text"},
    "gan": {"name": "gan"},
    # Dropout draws other numbers in each framework, and then the losses would differ.
    "lstm-classify": {"name": "rnn", "cell": "lstm", "task": "classify", "dropout": 0.0},
}


@dataclass(frozen=True)
class Data:
    """Arrays that every candidate starts from.

    Attributes:
        inputs: images (samples, height, width, channels), ids (samples, length) or sequences (samples, time, features).
        labels: (samples,), for text (samples, length).
        weights: initial values in the order of the layers, each layer's kernel before its bias, as Keras orders them.
        seed: what decides the order of the samples.
    """

    inputs: np.ndarray
    labels: np.ndarray
    weights: tuple[np.ndarray, ...]
    seed: int

    def orders(self) -> Iterator[np.ndarray]:
        """A permutation of the samples for each epoch, without end: those that hal draws for this seed."""
        epoch = 0
        while True:
            yield np.random.default_rng((self.seed, epoch)).permutation(len(self.inputs))
            epoch += 1

    def batches(self, batch: int) -> Iterator[np.ndarray]:
        """Indices of the samples of each batch, without end; the rest of an epoch that fills no batch is left out."""
        for order in self.orders():
            for start in range(0, len(order) - batch + 1, batch):
                yield order[start : start + batch]


@dataclass(frozen=True)
class Task:
    """What to train and how.

    Attributes:
        model: cnn, lstm (writes text), lstm-classify or gan.
        precision: fp32 or bf16.
        layout: nchw or nhwc, of images.
        batch: samples in a step.
        samples: samples to train on.
        seed: of data, order and weights.
        saved: a file of :meth:`save`; empty: the data are made by hal.
        backend: hal's.
        plan: other keys of hal's plan.
    """

    model: Model
    precision: str = "fp32"
    layout: str = "nchw"
    batch: int = 128
    samples: int = 2560
    seed: int = 0
    saved: str = ""
    backend: str = "cpu"
    plan: Mapping[str, Any] = field(default_factory=dict)

    def job(self) -> Any:
        """The task as hal prepares it: model, data and plan."""
        from hal.config import build
        from hal.job.prepare import prepare
        from hal.run.config import BenchConfig

        keys: dict[str, Any] = {
            "model": _KEYS[self.model],
            "backend": self.backend,
            # hal holds a fifth of the samples back.
            "data": {"name": f"synthetic:{self.samples * 5 // 4}"},
            "batch": self.batch,
            "precision": self.precision,
            "layout": self.layout,
            "seed": self.seed,
            **self.plan,
        }
        return prepare(build(BenchConfig, keys))

    def data(self) -> Data:
        """The arrays, from the file if there is one."""
        if self.saved:
            with np.load(self.saved) as file:
                weights = tuple(file[f"w{i}"] for i in range(len(file.files) - 2))
                return Data(file["inputs"], file["labels"], weights, self.seed)
        job = self.job()
        whole = job.split.train.take(np.arange(len(job.split.train)))
        params, _ = job.model.initial(self.seed)
        return Data(whole["inputs"], whole["labels"], tuple(_in_order(params)), self.seed)

    def save(self, path: Path) -> Task:
        """Write the arrays to a file; the same task, which reads them from there and needs no hal for it."""
        data = self.data()
        np.savez(path, inputs=data.inputs, labels=data.labels, **{f"w{i}": w for i, w in enumerate(data.weights)})
        return Task(**{**asdict(self), "saved": str(path)})


_ORDER = ("embedding", "recurrent", "body", "head")


def _in_order(tree: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """Leaves in the order of the layers, and within a layer in its own order: the kernel before the bias."""
    known = [name for name in _ORDER if isinstance(tree.get(name), Mapping)]
    for name in known or tree:
        yield from [tree[name]] if isinstance(tree[name], np.ndarray) else _in_order(tree[name])
