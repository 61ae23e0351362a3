"""hal, as ``hal run`` trains: its data set, its data path, its step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import optree

from benchmarks.peers import Peer
from benchmarks.task import HYPER, LR, Task
from hal import __version__, ops, registry
from hal.contract.device import Device
from hal.data import batches
from hal.errors import UnavailableError
from hal.job.carry import initial_carry, place_carry, start_optimizers
from hal.job.placing import feeding
from hal.job.step import Step

__all__ = ["on_jax", "on_opencl", "opencl_processor", "serve"]


def serve(task: Task, use: Callable[[Peer], None], *, alone: bool = True) -> None:
    """See :mod:`benchmarks.peers`.

    Args:
        task: what to train.
        use: called with the candidate.
        alone: no other candidate minds the settings of the plan; else each step sets and restores them.
    """
    job = task.job()
    backend, device = job.backend, job.device

    def endless() -> Iterator[dict[str, np.ndarray]]:
        epoch = 0
        while True:
            yield from batches(job.split.train, task.batch, seed=task.seed, epoch=epoch)
            epoch += 1

    phase = job.model.phases(1)[0]
    optimizer = backend.optimizer("adamw", HYPER)
    run = Step(job.group, job.model, phase, job.plan, optimizer, job.params).build()
    carry = place_carry(job, initial_carry(job, task.seed))
    carry = start_optimizers(carry, phase.objectives, optimizer)
    key, done = backend.rng(task.seed, device), 0
    count = sum(int(np.prod(p.shape)) for p in optree.tree_leaves(carry["params"]))
    with contextlib.ExitStack() as around, feeding(job, endless(), job.split.train) as feed:
        if alone:
            around.enter_context(backend.settings(job.plan, device))

        def step() -> Any:
            nonlocal carry, done
            carry, metrics = run(carry, next(feed), ops.fold_in(key, done), LR)
            done += 1
            return next(iter(metrics.values()))  # the loss; of the gan, the discriminator's

        def step_under_plan() -> Any:
            with backend.settings(job.plan, device):
                return step()

        versions = {"hal": __version__, **backend.versions()}
        use(Peer(step if alone else step_under_plan, count, versions, lambda: backend.synchronize(device)))


def on_opencl(task: Task, use: Callable[[Peer], None]) -> None:
    """On OpenCL, where there is one layout, on the processor, as the candidates beside it."""
    plan = {**task.plan, "device": str(opencl_processor())}
    serve(replace(task, backend="opencl", layout="nhwc", plan=plan), use, alone=False)


def opencl_processor() -> Device:
    """The processor as an OpenCL device; among all devices GPUs come first.

    Raises:
        UnavailableError: no driver serves it.
    """
    found = [device for device in registry.backend("opencl").devices() if device.kind == "cpu"]
    if not found:
        raise UnavailableError(
            "no OpenCL driver serves the processor",
            fix="install one; on Debian or Ubuntu: apt-get install pocl-opencl-icd",
        )
    return found[0]


def on_jax(task: Task, use: Callable[[Peer], None]) -> None:
    """On JAX; what a plan sets must not reach the other candidates of the same runtime."""
    serve(replace(task, backend="jax", layout="nhwc"), use, alone=False)
