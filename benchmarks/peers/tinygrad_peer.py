"""The cnn in tinygrad on its OpenCL device, with its JIT. It starts from the weights that all start from."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import numpy as np

from benchmarks.peers import Peer
from benchmarks.task import HYPER, LR, Task

__all__ = ["serve"]


def serve(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`."""
    from tinygrad import Tensor, TinyJit, nn
    from tinygrad.helpers import DEV, Context

    if task.model != "cnn":
        raise ValueError(f"the tinygrad candidate trains cnn, not {task.model}")
    DEV.value = "CL"
    data = task.data()
    kernels, biases = data.weights[::2], data.weights[1::2]
    moved = [k.transpose(3, 2, 0, 1) if k.ndim == 4 else k for k in kernels]
    last = kernels[2].shape[3]
    side = round((len(kernels[3]) / last) ** 0.5)
    # tinygrad's images are (channels, height, width), and so is what it flattens.
    moved[3] = kernels[3].reshape(side, side, last, -1).transpose(2, 0, 1, 3).reshape(kernels[3].shape)
    weights = [Tensor(np.ascontiguousarray(x)) for pair in zip(moved, biases, strict=True) for x in pair]
    moves = nn.optim.AdamW(
        weights, lr=LR, b1=HYPER["beta1"], b2=HYPER["beta2"], eps=HYPER["epsilon"], weight_decay=HYPER["weight_decay"]
    )

    def loss_of(x: Tensor, labels: Tensor) -> Tensor:
        for layer in range(3):
            x = x.conv2d(weights[2 * layer], weights[2 * layer + 1]).relu()
            x = x.max_pool2d() if layer < 2 else x.flatten(1)
        x = (x @ weights[6] + weights[7]).relu()
        return (x @ weights[8] + weights[9]).sparse_categorical_crossentropy(labels)

    @TinyJit
    def replayed(x: Tensor, labels: Tensor) -> Tensor:
        with Context(TRAINING=1):
            moves.zero_grad()
            loss = loss_of(x, labels).backward()
            return loss.realize(*moves.schedule_step())

    feed = data.batches(task.batch)
    images = np.ascontiguousarray(data.inputs.transpose(0, 3, 1, 2))

    def step() -> float:
        rows = next(feed)
        return float(
            replayed(Tensor(images[rows]).realize(), Tensor(data.labels[rows].astype(np.int32)).realize()).item()
        )

    use(Peer(step, sum(int(np.prod(w.shape)) for w in weights), {"tinygrad": metadata.version("tinygrad")}))
