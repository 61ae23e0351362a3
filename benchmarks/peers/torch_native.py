"""PyTorch as a good engineer writes it: nn.Module, fused AdamW, autocast, channels_last where that is the layout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers import Peer
from benchmarks.task import HYPER, LR, Data, Task

__all__ = ["autocast", "batches", "images", "loss_of", "network", "optimizer", "serve"]


class TextLSTM(nn.Module):
    """Next character: (batch, length) ids to (batch, length, vocabulary) logits."""

    def __init__(self, vocabulary: int, embedding: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, units, batch_first=True)
        self.head = nn.Linear(units, vocabulary)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.lstm(self.embedding(ids))[0])


class SequenceLSTM(nn.Module):
    """Classify: (batch, time, features) to (batch, classes) logits."""

    def __init__(self, features: int, units: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, units, batch_first=True)
        self.head = nn.Linear(units, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.lstm(x)[0][:, -1])


def network(task: Task, data: Data) -> nn.Module:
    """The network with the task's first weights."""
    built = _cnn(data) if task.model == "cnn" else _lstm(task, data)
    return built.to(memory_format=torch.channels_last) if task.layout == "nhwc" else built


def _cnn(data: Data) -> nn.Module:
    layers: list[nn.Module] = []
    values: list[np.ndarray] = []
    pairs = list(zip(data.weights[::2], data.weights[1::2], strict=True))
    kernels = [kernel for kernel, _ in pairs]
    convolutions = [k for k in kernels if k.ndim == 4]
    for index, kernel in enumerate(convolutions):
        layers += [nn.MaxPool2d(2)] if index else []
        layers += [nn.Conv2d(kernel.shape[2], kernel.shape[3], kernel.shape[:2]), nn.ReLU()]
    (first, second) = kernels[len(convolutions) :]
    layers += [nn.Flatten(), nn.Linear(*first.shape), nn.ReLU(), nn.Linear(*second.shape)]
    for kernel, bias in pairs:
        if kernel.ndim == 4:
            values += [kernel.transpose(3, 2, 0, 1), bias]
        elif kernel is first:
            # PyTorch flattens (channels, height, width), the others (height, width, channels).
            channels = convolutions[-1].shape[3]
            side = round((len(kernel) / channels) ** 0.5)
            moved = kernel.reshape(side, side, channels, -1).transpose(3, 2, 0, 1)
            values += [moved.reshape(kernel.shape[1], -1), bias]
        else:
            values += [kernel.T, bias]
    built = nn.Sequential(*layers)
    _fill(built, values)
    return built


def _lstm(task: Task, data: Data) -> nn.Module:
    *embedding, kernel, recurrent, bias, head, head_bias = data.weights
    units = recurrent.shape[0]
    built = TextLSTM(*embedding[0].shape, units) if embedding else SequenceLSTM(kernel.shape[0], units, head.shape[1])
    _fill(built, [*embedding, kernel.T, recurrent.T, bias, np.zeros_like(bias), head.T, head_bias])
    # nn.LSTM adds two biases, the others one: the second is held at zero, so that all train the same function.
    built.lstm.bias_hh_l0.requires_grad_(False)
    return built


def _fill(built: nn.Module, values: list[np.ndarray]) -> None:
    with torch.no_grad():
        for parameter, value in zip(built.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def optimizer(built: nn.Module) -> torch.optim.Optimizer:
    """Fused AdamW."""
    return torch.optim.AdamW(
        (p for p in built.parameters() if p.requires_grad),
        lr=LR,
        betas=(HYPER["beta1"], HYPER["beta2"]),
        eps=HYPER["epsilon"],
        weight_decay=HYPER["weight_decay"],
        fused=True,
    )


def batches(task: Task, data: Data) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches by indexing two tensors: for data in memory there is nothing faster that is ordinary."""
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    if inputs.ndim == 4:
        inputs = images(inputs, task.layout)
    for rows in data.batches(task.batch):
        index = torch.from_numpy(rows)
        yield inputs[index], labels[index]


def images(inputs: torch.Tensor, layout: str) -> torch.Tensor:
    """Images (samples, height, width, channels) as (samples, channels, height, width), stored as a layout says.

    A copy, and not ``contiguous``, which leaves images of one channel as they are: their strides then say
    channels_last, and the whole network follows them.
    """
    samples, height, width, channels = inputs.shape
    form = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    return torch.empty((samples, channels, height, width), memory_format=form).copy_(inputs.permute(0, 3, 1, 2))


def loss_of(built: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy."""
    logits = built(inputs)
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def autocast(task: Task) -> contextlib.AbstractContextManager[object]:
    """Autocast for bf16, nothing for fp32."""
    return torch.autocast("cpu", torch.bfloat16) if task.precision == "bf16" else contextlib.nullcontext()


def serve(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`."""
    data = task.data()
    built = network(task, data)
    moves = optimizer(built)
    feed = batches(task, data)

    def step() -> torch.Tensor:
        inputs, labels = next(feed)
        moves.zero_grad(set_to_none=True)
        with autocast(task):
            loss = loss_of(built, inputs, labels)
        loss.backward()
        moves.step()
        return loss.detach()

    count = sum(p.numel() for p in built.parameters() if p.requires_grad)
    use(Peer(step, count, {"torch": torch.__version__}))
