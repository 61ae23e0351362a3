"""Brings the processes of a plan together: those that a launcher started, or workers that are started here."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hal.config import JobConfig
from hal.contract import Group, SpreadsOver
from hal.contract.group import process_count
from hal.contract.plan import Plan
from hal.errors import ConfigError, PlanError, RunError
from hal.job.prepare import Job
from hal.processes.rendezvous import Rendezvous, exported, from_environment
from hal.processes.report import report_ready
from hal.processes.workers import WorkerGroup

__all__ = ["AHEAD", "StepBroadcaster", "finish_steps", "launch", "pinned", "run_broadcast_steps"]

AHEAD = 8
"""How many short steps are announced at once."""

_SHORT_S = 0.05
"""Steps that take longer than this (s) are announced one by one, since an announcement costs little beside them."""

_MOST_NUMBERS = 16
"""How many step functions an announcement can tell apart."""


@contextlib.contextmanager
def launch(job: Job, call: str, arguments: Mapping[str, Any], plans: tuple[Plan, ...] = ()) -> Iterator[Job]:
    """Bring the processes of a job together for the time of a block; workers that were started here end with it.

    Args:
        job: what :func:`~hal.job.prepare.prepare` gave.
        call: ``module:function`` that workers call; that function must call this one too.
        arguments: keyword arguments of that function, as JSON can hold them.
        plans: further plans that will run within the block.

    Yields:
        The job with the group of all its processes.

    Raises:
        PlanError: the plans need different numbers of processes, or another number than a launcher started.
        ConfigError: a launcher started several processes, but the plan uses one.
        UnavailableError: there are not enough devices.
        RunError: a worker did not start.
    """
    wanted = {process_count(job.backend, plan) for plan in (job.plan, *plans)}
    count, world = max(wanted), from_environment()
    if wanted - {1, count}:
        raise PlanError(
            f"plans of {' and '.join(map(str, sorted(wanted - {1})))} processes cannot be measured in turn in one run",
            fix="compare each of them with parallel=none instead",
        )
    if world is not None and count == 1 and job.group.size == 1:
        raise ConfigError(
            f"WORLD_SIZE is {world.size}, but parallel={job.plan.parallel} uses one process",
            fix=f"write parallel=dp={world.size}, or start the command without a launcher",
        )
    if world is not None and count not in (1, world.size):
        raise PlanError(
            f"WORLD_SIZE is {world.size}, but parallel={job.plan.parallel} uses {count} processes",
            fix=f"write parallel=dp={world.size}, or start {count} processes",
        )
    if count == 1:
        yield job
        return
    spread = next(plan for plan in (job.plan, *plans) if process_count(job.backend, plan) == count)
    assert isinstance(job.backend, SpreadsOver), "only those want more than one process"
    if world is None:
        job.backend.local_device(job.device, spread, count - 1)  # raises where there are not enough devices
        with _meeting(count) as world, _workers(world, {"call": call, "arguments": dict(arguments)}) as workers:
            yield from _joined(job, world, spread, workers)
        return
    yield from _joined(job, world, spread, None)


def _joined(
    job: Job,
    world: Rendezvous,
    spread: Plan,
    workers: WorkerGroup | None,
) -> Iterator[Job]:
    """The job with its group, in the process that started the workers, or (None) in one that was started."""
    backend = job.backend
    assert isinstance(backend, SpreadsOver), "only those want more than one process"
    device = backend.local_device(job.device, spread, world.local_rank)
    with exported(world):
        if workers is None:
            report_ready()
            backend.join(device, spread)
        else:
            workers.wait_ready()
            workers.joined(lambda: backend.join(device, spread))
        group = backend.group(device, spread)
    try:
        if workers is not None:
            workers.watch(group.abort)
        own = group if process_count(job.backend, job.plan) > 1 else Group(job.backend, device)
        own.rank = world.rank
        yield replace(
            job, device=device, group=own, connected=True, explain=workers.explain if workers else job.explain
        )
    finally:
        group.close()


@contextlib.contextmanager
def _meeting(count: int) -> Iterator[Rendezvous]:
    """A folder that only this user can open, for processes of this machine to meet in; removed afterwards."""
    try:
        folder = tempfile.mkdtemp(prefix="hal-rendezvous-")
    except OSError as error:
        raise RunError(
            f"the {count} processes of this run have no temporary folder to connect through: {error}",
            fix="set TMPDIR to a folder of this machine that you can write to",
        ) from error
    try:
        yield Rendezvous(0, count, 0, count, folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _workers(world: Rendezvous, task: Mapping[str, Any]) -> Iterator[WorkerGroup]:
    workers = WorkerGroup(world, task)
    try:
        yield workers
        workers.leave()
    except BaseException as error:
        story = workers.explain(error)
        if story is None:
            raise
        raise story from error
    finally:
        workers.end()


def pinned(config: JobConfig, job: Job, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keys with which workers get the same job: those of a config, with device and plan as resolved here.

    Args:
        config: what the user asked for.
        job: the job that was made of it.
        leave_out: keys that rank 0 alone needs.
    """
    keys: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True, exclude=set(leave_out))
    plan = {name: value for name, value in job.plan.model_dump().items() if value is not None}
    return {**keys, **plan, "backend": job.device.backend, "device": str(job.device), "plan": "default"}


class StepBroadcaster:
    """Runs a step on rank 0 and announces it to the other processes, so that all run the same number of steps.

    Args:
        group: the processes that take part.
        step: one step.
        number: which of several step functions this is, from 0.
        ahead: how many short steps to announce at once, so that no process waits for an announcement. The others may
            begin an announced step before rank 0 does; give 1 where something else is measured between steps.
    """

    def __init__(self, group: Group, step: Callable[[], object], number: int = 0, ahead: int = AHEAD) -> None:
        self._group, self._step, self._number, self._ahead = group, step, number, ahead
        self._announced = 0
        self._last_s = math.inf

    def __call__(self) -> object:
        """One step."""
        if self._announced == 0:
            self.announce(self._ahead if self._last_s < _SHORT_S else 1)
        self._announced -= 1
        start = time.perf_counter()
        found = self._step()
        self._last_s = time.perf_counter() - start
        return found

    def announce(self, steps: int) -> None:
        """Announce a number of steps to the other processes; all that were announced before must be done."""
        self._announced = steps
        self._group.broadcast_int(steps * _MOST_NUMBERS + self._number)

    def settle(self) -> None:
        """Run the steps that were announced and are not done yet."""
        while self._announced:
            self()


def finish_steps(group: Group, steps: Iterable[Callable[[], object]]) -> int | None:
    """End :func:`run_broadcast_steps` in the other processes, after the steps that were announced.

    Args:
        group: the processes that take part.
        steps: the steps of rank 0; those that are no :class:`StepBroadcaster` are left alone.

    Returns:
        The peak memory, as :meth:`~hal.contract.Group.peak_memory` counts it.
    """
    for step in steps:
        if isinstance(step, StepBroadcaster):
            step.settle()
    group.broadcast_int(0)
    return group.peak_memory()


def run_broadcast_steps(group: Group, steps: Mapping[int, Callable[[], object]]) -> None:
    """Run the steps that rank 0 announces, until it calls :func:`finish_steps`.

    Args:
        group: the processes that take part; this one's rank is above 0.
        steps: the step functions by their numbers.
    """
    while announced := group.broadcast_int(0):
        count, number = divmod(announced, _MOST_NUMBERS)
        for _ in range(count):
            steps[number]()
    group.peak_memory()
