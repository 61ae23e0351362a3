"""JAX as a good engineer writes it: one jitted step with donated buffers, optax, ``lax.scan`` for the recurrence.

``naive`` takes the library's convolution and pooling, as tutorials do; ``serve`` the algorithms that hal takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.peers import Peer
from benchmarks.task import HYPER, LR, Data, Task

__all__ = ["naive", "serve"]

Params = list[Any]


def _conv(x: Any, kernel: Any) -> Any:
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _pool_window(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _pool_slices(x: Any) -> Any:
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = jnp.maximum(x[:, 0:height:2, :width], x[:, 1:height:2, :width])
    return jnp.maximum(rows[:, :, 0::2], rows[:, :, 1::2])


def _cnn(pool: Callable[[Any], Any]) -> Callable[[Params, Any], Any]:
    def network(params: Params, x: Any) -> Any:
        pairs = list(zip(params[::2], params[1::2], strict=True))
        convolutions = [pair for pair in pairs if pair[0].ndim == 4]
        for index, (kernel, bias) in enumerate(convolutions):
            x = pool(x) if index else x
            x = jax.nn.relu(_conv(x, kernel) + bias)
        (hidden, hidden_bias), (head, head_bias) = pairs[len(convolutions) :]
        x = jax.nn.relu(x.reshape(x.shape[0], -1) @ hidden + hidden_bias)
        return x @ head + head_bias

    return network


def _lstm(params: Params, x: Any) -> Any:
    *embedding, kernel, recurrent, bias, head, head_bias = params
    text = bool(embedding)
    x = embedding[0][x] if text else x
    units = recurrent.shape[0]

    def step(carry: Any, projected: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(projected + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[0], units), x.dtype)
    _, ys = lax.scan(step, (zeros, zeros), jnp.swapaxes(x @ kernel + bias, 0, 1))
    return (jnp.swapaxes(ys, 0, 1) if text else ys[-1]) @ head + head_bias


def _serve(task: Task, use: Callable[[Peer], None], pool: Callable[[Any], Any]) -> None:
    data: Data = task.data()
    network = _cnn(pool) if task.model == "cnn" else _lstm
    rule = optax.adamw(
        LR, b1=HYPER["beta1"], b2=HYPER["beta2"], eps=HYPER["epsilon"], weight_decay=HYPER["weight_decay"]
    )
    narrow = jnp.bfloat16 if task.precision == "bf16" else jnp.float32

    def loss_of(params: Params, x: Any, labels: Any) -> Any:
        params = [p.astype(narrow) for p in params]
        logits = network(params, x.astype(narrow) if jnp.issubdtype(x.dtype, jnp.floating) else x)
        return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels).mean()

    def update(params: Params, state: Any, x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(params, x, labels)
        moves, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, moves), state, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    params: Any = [jnp.asarray(w) for w in data.weights]
    state: Any = rule.init(params)
    feed, last = data.batches(task.batch), jnp.zeros(())

    def step() -> Any:
        nonlocal params, state, last
        index = next(feed)
        params, state, last = compiled(params, state, data.inputs[index], data.labels[index].astype(np.int32))
        return last

    count = sum(w.size for w in data.weights)
    use(Peer(step, count, {"jax": jax.__version__, "optax": optax.__version__}, lambda: jax.block_until_ready(last)))


def serve(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`."""
    _serve(task, use, _pool_slices)


def naive(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`."""
    _serve(task, use, _pool_window)
