"""Keras 3 on PyTorch or JAX: the same layers, ``compile`` with its defaults, ``train_on_batch``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

from benchmarks.peers import Peer
from benchmarks.peers.torch_native import images
from benchmarks.task import HYPER, LR, Data, Task

__all__ = ["serve"]


def _layers(task: Task, data: Data) -> list[Any]:
    L = keras.layers
    classes = data.weights[-1].shape[0]
    if task.model != "cnn":
        *embedding, _, recurrent, _, _, _ = data.weights
        first = [L.Embedding(*embedding[0].shape)] if embedding else []
        return [*first, L.LSTM(recurrent.shape[0], return_sequences=bool(embedding)), L.Dense(classes)]
    body: list[Any] = []
    for kernel in (w for w in data.weights if w.ndim == 4):
        body += [L.MaxPooling2D()] if body else []
        body.append(L.Conv2D(kernel.shape[3], kernel.shape[:2], activation="relu"))
    return [*body, L.Flatten(), L.Dense(data.weights[-4].shape[1], activation="relu"), L.Dense(classes)]


def serve(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`."""
    data = task.data()
    keras.config.set_dtype_policy("mixed_bfloat16" if task.precision == "bf16" else "float32")
    keras.config.set_image_data_format("channels_first" if task.layout == "nchw" else "channels_last")
    on_torch = keras.backend.backend() == "torch"
    inputs: Any = data.inputs
    labels: Any = data.labels
    if on_torch:
        inputs, labels = torch.from_numpy(inputs), torch.from_numpy(labels)
        inputs = images(inputs, "nchw") if inputs.ndim == 4 and task.layout == "nchw" else inputs
    model = keras.Sequential(
        [
            keras.Input(tuple(inputs.shape[1:]), dtype="float32" if data.inputs.dtype.kind == "f" else "int64"),
            *_layers(task, data),
        ]
    )
    model.set_weights(list(data.weights))
    model.compile(
        optimizer=keras.optimizers.AdamW(
            LR,
            weight_decay=HYPER["weight_decay"],
            beta_1=HYPER["beta1"],
            beta_2=HYPER["beta2"],
            epsilon=HYPER["epsilon"],
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    feed = data.batches(task.batch)

    def step() -> Any:
        index = torch.from_numpy(next(feed)) if on_torch else next(feed)
        return model.train_on_batch(inputs[index], labels[index])

    use(Peer(step, model.count_params(), {"keras": keras.__version__}))


def on_jax(task: Task, use: Callable[[Peer], None]) -> None:
    """On JAX, which the process has to choose before Keras is imported."""
    if keras.backend.backend() != "jax":
        raise RuntimeError("Keras runs on torch in this process; start it with KERAS_BACKEND=jax")
    serve(task, use)
