"""hal on JAX with a user's own PyTorch module beside the same network by hand in JAX: a ratio of training steps.

JAX_PLATFORMS=cpu python -m benchmarks.modules_jax
JAX_PLATFORMS=cpu python -m benchmarks.modules_jax --pool reshape --clock wall --quiet 0.5
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import optax
import typer
from jax import lax
from jax import numpy as jnp

from benchmarks.train import over, paired, wait_for_quiet
from hal.config import JobConfig, build
from hal.job.placing import put_batch
from hal.job.prepare import prepare
from hal.job.steps import TrainingSteps, host_batches
from hal.measure import Candidate

__all__ = ["main"]

_MODEL = Path(__file__).parent / "own" / "cnn.py"


def main(
    batch: Annotated[int, typer.Option(help="samples in a step")] = 64,
    pool: Annotated[
        Literal["window", "reshape"],
        typer.Option(help="max pooling by hand: lax.reduce_window, or a reshape and a max"),
    ] = "window",
    device: Annotated[str, typer.Option(help="where, as hal devices names it")] = "jax:cpu:0",
    seconds: Annotated[float, typer.Option(help="longest time for each candidate")] = 30.0,
    clock: Annotated[
        Literal["wall", "cpu"], typer.Option(help="wall: time that passes; cpu: processor time of all threads together")
    ] = "cpu",
    quiet: Annotated[float | None, typer.Option(help="wait (10 minutes at most) for this load average")] = None,
) -> None:
    """Time the same steps by hal and by the loop written by hand, and print the ratio."""
    keys = {"model": f"{_MODEL}:Net", "device": device, "batch": batch, "data": "synthetic"}
    job = prepare(build(JobConfig, keys), "train")
    with job.backend.settings(job.plan, job.device):
        batches = list(itertools.islice(host_batches(job, 0), 8))
        mine, theirs = TrainingSteps(job, 0), _loop(*job.model.initial(0), pool)
        placed = itertools.cycle([put_batch(job, each) for each in batches])
        images = itertools.cycle([_theirs(each) for each in batches])
        first, second = float(mine(next(placed))["loss"]), float(theirs(next(images)))
        print(f"loss of the first step: {first:.6f} by hal, {second:.6f} by hand")
        if quiet is not None:
            wait_for_quiet(quiet, 10)
        last: Any = None

        def by_hand() -> None:
            nonlocal last
            last = theirs(next(images))

        candidates = {
            "by hand": Candidate(by_hand, lambda: jax.block_until_ready(last), batch),
            "hal": Candidate(lambda: mine(next(placed)), lambda: job.backend.synchronize(job.device), batch),
        }
        found = paired(candidates, seconds, clock, job.backend.versions())
    for name, measurement in found.measurements.items():
        print(f"{name}: {measurement.throughput}")
    print(f"hal over the loop by hand: {over(found, 'hal', 'by hand')}")
    for note in found.notes():
        print(f"note: {note}")


def _theirs(batch: Any) -> Any:
    return jnp.asarray(batch["inputs"].transpose(0, 2, 3, 1)), jnp.asarray(batch["labels"])


def _loop(params: Any, state: Any, pooling: str) -> Callable[[Any], Any]:
    """What somebody would write who knows JAX, with images (batch, height, width, channels) as they are usual there."""
    optimizer = optax.adamw(1e-3, weight_decay=0.01)

    def conv(params: Any, name: str, x: Any) -> Any:
        found = lax.conv_general_dilated(
            x, params[f"{name}.weight"], (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return found + params[f"{name}.bias"]

    def norm(params: Any, state: Any, name: str, x: Any) -> Any:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        count = x.size / x.shape[3]
        unbiased = variance * count / (count - 1)
        state = {
            **state,
            f"{name}.running_mean": 0.9 * state[f"{name}.running_mean"] + 0.1 * mean,
            f"{name}.running_var": 0.9 * state[f"{name}.running_var"] + 0.1 * unbiased,
            f"{name}.num_batches_tracked": state[f"{name}.num_batches_tracked"] + 1,
        }
        scale = params[f"{name}.weight"] * lax.rsqrt(variance + 1e-5)
        shift = params[f"{name}.bias"] - mean * scale
        return x * scale + shift, state

    def pool(x: Any) -> Any:
        if pooling == "reshape":
            count, height, width, channels = x.shape
            return x.reshape(count, height // 2, 2, width // 2, 2, channels).max((2, 4))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(params: Any, state: Any, images: Any, labels: Any) -> Any:
        x = images
        for index in ("1", "2"):
            x, state = norm(params, state, f"norm{index}", conv(params, f"conv{index}", x))
            x = pool(jax.nn.relu(x))
        x = x.transpose(0, 3, 1, 2)  # the order in which the module flattens
        logits = x.reshape(x.shape[0], -1) @ params["head.weight"].T + params["head.bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    @jax.jit
    def step(carry: Any, images: Any, labels: Any) -> Any:
        params, state, slots = carry
        (value, state), gradients = jax.value_and_grad(loss, has_aux=True)(params, state, images, labels)
        updates, slots = optimizer.update(gradients, slots, params)
        return (optax.apply_updates(params, updates), state, slots), value

    placed = {name: jnp.asarray(x.transpose(2, 3, 1, 0) if x.ndim == 4 else x) for name, x in params.items()}
    carry = placed, {name: jnp.asarray(x) for name, x in state.items()}, optimizer.init(placed)

    def run(batch: Any) -> Any:
        nonlocal carry
        carry, value = step(carry, *batch)
        return value

    return run


if __name__ == "__main__":
    typer.run(main)
