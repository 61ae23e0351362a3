"""The cnn and the lstm in tinygrad on its OpenCL device, with its JIT, from the weights that all start from."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.peers import Peer
from benchmarks.task import HYPER, LR, Data, Task

__all__ = ["serve"]


def serve(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`."""
    from tinygrad import Tensor, TinyJit, nn
    from tinygrad.helpers import DEV, Context

    if task.model not in ("cnn", "lstm"):
        raise ValueError(f"the tinygrad candidate trains cnn and lstm, not {task.model}")
    DEV.value = "CL"
    data = task.data()
    first, differentiate = (_cnn_weights(data), _cnn) if task.model == "cnn" else (data.weights, _lstm)
    weights = [Tensor(np.ascontiguousarray(x)) for x in first]
    moves = nn.optim.AdamW(
        weights, lr=LR, b1=HYPER["beta1"], b2=HYPER["beta2"], eps=HYPER["epsilon"], weight_decay=HYPER["weight_decay"]
    )

    @TinyJit
    def replayed(x: Tensor, labels: Tensor) -> Tensor:
        with Context(TRAINING=1):
            moves.zero_grad()
            return differentiate(weights, x, labels).realize(*moves.schedule_step())

    feed = data.batches(task.batch)
    # tinygrad's images are (channels, height, width).
    inputs = data.inputs.transpose(0, 3, 1, 2) if task.model == "cnn" else data.inputs.astype(np.int32)
    inputs = np.ascontiguousarray(inputs)

    def step() -> float:
        rows = next(feed)
        return float(
            replayed(Tensor(inputs[rows]).realize(), Tensor(data.labels[rows].astype(np.int32)).realize()).item()
        )

    use(Peer(step, sum(int(np.prod(w.shape)) for w in weights), {"tinygrad": metadata.version("tinygrad")}))


def _cnn_weights(data: Data) -> list[np.ndarray]:
    kernels, biases = data.weights[::2], data.weights[1::2]
    moved = [k.transpose(3, 2, 0, 1) if k.ndim == 4 else k for k in kernels]
    last = kernels[2].shape[3]
    side = round((len(kernels[3]) / last) ** 0.5)
    # What tinygrad flattens is (channels, height, width).
    moved[3] = kernels[3].reshape(side, side, last, -1).transpose(2, 0, 1, 3).reshape(kernels[3].shape)
    return [x for pair in zip(moved, biases, strict=True) for x in pair]


def _cnn(weights: list[Any], x: Any, labels: Any) -> Any:
    """The mean cross-entropy of images (batch, channels, height, width); the weights' gradients are in ``grad``."""
    for layer in range(3):
        x = x.conv2d(weights[2 * layer], weights[2 * layer + 1]).relu()
        x = x.max_pool2d() if layer < 2 else x.flatten(1)
    x = (x @ weights[6] + weights[7]).relu()
    return (x @ weights[8] + weights[9]).sparse_categorical_crossentropy(labels).backward()


def _lstm(weights: list[Any], ids: Any, labels: Any) -> Any:
    """The mean cross-entropy of ids (batch, length); the weights' gradients are in ``grad``.

    One product projects the inputs of all positions, and a loop over the positions, which the JIT unrolls, takes them
    up. The loop is differentiated by its gates only, and one product of all states with the gates' gradients gives the
    gradient of the recurrent weights. With ``backward`` alone a step took as long with 8 and with 25 positions; nobody
    has measured that with the 100 of this task.
    Each state is stored, forward and backward, because tinygrad would otherwise compute it again in every kernel that
    reads it.
    """
    from tinygrad import Tensor

    embedding, kernel, recurrent, bias, head, head_bias = weights
    projected = embedding[ids] @ kernel + bias
    whole, fixed = projected.contiguous(), recurrent.detach()
    gates = [whole[:, position].contiguous() for position in range(ids.shape[1])]
    hidden = cell = Tensor.zeros(ids.shape[0], recurrent.shape[0])
    states = [hidden]
    for each in gates:
        i, f, g, o = (each + hidden @ fixed).chunk(4, dim=-1)
        cell = (f.sigmoid() * cell + i.sigmoid() * g.tanh()).contiguous().contiguous_backward()
        hidden = (o.sigmoid() * cell.tanh()).contiguous().contiguous_backward()
        states.append(hidden)
    logits = _stacked(states[1:]).contiguous_backward() @ head + head_bias
    loss = logits.sparse_categorical_crossentropy(labels)
    head.grad, head_bias.grad, *upstream = loss.gradient(head, head_bias, *gates)
    before = _stacked(states[:-1]).detach()
    inner = [embedding, kernel, recurrent, bias]
    gradients = (projected + before @ recurrent).gradient(*inner, gradient=_stacked(upstream))
    for weight, gradient in zip(inner, gradients, strict=True):
        weight.grad = gradient
    return loss


def _stacked(parts: list[Any]) -> Any:
    """Positions (batch, features) as (batch, length, features), ten in a kernel, which has an argument for each."""
    starts = range(0, len(parts), 10)
    tens = [parts[at].stack(*parts[at + 1 : at + 10], dim=1).contiguous() for at in starts]
    return tens[0].cat(*tens[1:], dim=1).contiguous()
