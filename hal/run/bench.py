"""Measures one plan of a workload, or two plans in turn, as ``hal bench`` does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hal.config import build
from hal.contract.device import DeviceFacts
from hal.contract.plan import Plan
from hal.errors import ConfigError
from hal.job.errors import classified
from hal.job.placing import feeding
from hal.job.prepare import Job, prepare, with_plan
from hal.job.steps import host_batches, stepper
from hal.measure import Candidate, Comparison, Measurement, Settings, compare, measure
from hal.processes.launch import AHEAD, StepBroadcaster, finish_steps, launch, pinned, run_broadcast_steps
from hal.run.config import BenchConfig
from hal.util.files import check_new, write_result
from hal.util.paths import user_path
from hal.workload import Workload

__all__ = ["Bench", "bench"]


class Bench(BaseModel):
    """What a benchmark found.

    Attributes:
        workload: what was measured.
        device: where it was measured.
        plan: the plan that was measured.
        measurement: its numbers.
        versus: the second plan; None: there was one plan alone.
        comparison: the numbers of both plans, named ``plan`` and ``versus``; None: there was one plan alone.
        origin: a sentence about the tuning that found the plan; empty where the plan was given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    workload: Workload
    device: DeviceFacts
    plan: Plan
    measurement: Measurement
    versus: Plan | None = None
    comparison: Comparison | None = None
    origin: str = ""

    def notes(self) -> tuple[str, ...]:
        """Sentences about what makes these numbers doubtful."""
        return self.measurement.notes() if self.comparison is None else self.comparison.notes()


def bench(config: BenchConfig) -> Bench | None:
    """Measure the throughput of a plan, its data path included; of two plans, block by block in turn.

    Returns:
        What was found; None in a process of a rank above 0.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the backend or device is not available.
        UnsavedError: it cannot be written to ``out``; carries what was found.
        HalError: the benchmark failed while it ran.
    """
    out = None if config.out is None else user_path(config.out)
    if out is not None:
        check_new(out)
    job = prepare(config, config.mode)
    versus = None
    if config.versus is not None:
        versus = config.versus.over(job.plan).resolve(job.device)
        if versus == job.plan:
            raise ConfigError(
                "versus.* gives the same plan as the first one", fix="change a key, for example versus.precision=bf16"
            )
        with_plan(job, versus)  # finds what is wrong with it before anything is started
    settings = Settings(max_seconds=config.seconds, min_seconds=min(1.0, config.seconds), seed=config.seed)
    with contextlib.ExitStack() as stack:
        task = {"keys": pinned(config, job, leave_out=("out",))}
        job = stack.enter_context(launch(job, "hal.run.bench:bench_worker", task, () if versus is None else (versus,)))
        stack.enter_context(classified(job.backend))
        stack.enter_context(job.backend.settings(job.plan, job.device))
        jobs = {"plan": job} if versus is None else {"plan": job, "versus": with_plan(job, versus)}
        steps = {name: _stepper(each, config, stack, switch=len(jobs) > 1) for name, each in jobs.items()}
        group = max((each.group for each in jobs.values()), key=lambda each: each.size)
        job.backend.reset_peak_memory(job.device)
        if job.group.rank != 0:
            run_broadcast_steps(group, dict(enumerate(steps.values())))
            return None
        leads = {
            name: StepBroadcaster(group, steps[name], number, AHEAD if len(jobs) == 1 else 1)
            if each.group.size > 1
            else steps[name]
            for number, (name, each) in enumerate(jobs.items())
        }
        found = _measured(job, leads["plan"], settings) if len(jobs) == 1 else _compared(jobs, leads, settings)
    if out is not None:
        write_result(out, found)
    return found


def bench_worker(keys: Mapping[str, Any]) -> None:
    """Take part in a benchmark of several processes as one of a rank above 0.

    Args:
        keys: of the benchmark.
    """
    bench(build(BenchConfig, keys))


def _measured(job: Job, step: Callable[[], object], settings: Settings) -> Bench:
    backend, device = job.backend, job.device
    found = measure(
        step,
        lambda: backend.synchronize(device),
        samples_per_step=job.plan.batch,
        settings=settings,
        latency=job.workload.mode == "infer",
        telemetry=lambda: backend.telemetry(device),
        peak_memory=partial(finish_steps, job.group, (step,)),
        versions=backend.versions(),
    )
    return Bench(
        workload=job.workload, device=DeviceFacts.of(device), plan=job.plan, measurement=found, origin=job.origin
    )


def _compared(jobs: Mapping[str, Job], steps: Mapping[str, Callable[[], object]], settings: Settings) -> Bench:
    job = jobs["plan"]
    candidates = {
        name: Candidate(steps[name], lambda: job.backend.synchronize(job.device), each.plan.batch)
        for name, each in jobs.items()
    }
    found = compare(candidates, baseline="plan", settings=settings, versions=job.backend.versions())
    finish_steps(max((each.group for each in jobs.values()), key=lambda each: each.size), steps.values())
    return Bench(
        workload=job.workload,
        device=DeviceFacts.of(job.device),
        plan=job.plan,
        measurement=found.measurements["plan"],
        versus=jobs["versus"].plan,
        comparison=found,
        origin=job.origin,
    )


def _stepper(job: Job, config: BenchConfig, feeds: contextlib.ExitStack, *, switch: bool) -> Callable[[], object]:
    """A function that runs one whole step, from the next batch to the updated parameters or the outputs.

    Args:
        job: what runs under which plan.
        config: training or inference.
        feeds: closes the data path at the end.
        switch: whether steps of another plan come between, so that each step must apply the settings of its plan.
    """
    feed = feeds.enter_context(feeding(job, host_batches(job, config.seed), job.split.train))
    run = stepper(job, config.seed)

    def step() -> object:
        return run(next(feed))

    def step_under_plan() -> object:
        with job.backend.settings(job.plan, job.device):
            return run(next(feed))

    return step_under_plan if switch else step
