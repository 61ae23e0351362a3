"""One trial inside a worker: build, compile, measure, and check that it computes the right thing."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from hal.config import JobConfig, build
from hal.contract import Backend
from hal.contract.plan import Plan
from hal.errors import HalError, NumericsError, OutOfMemoryError, RequestError, UnavailableError
from hal.job.errors import classified
from hal.job.placing import feeding, put_batch
from hal.job.prepare import Job, prepare, with_plan
from hal.job.steps import Inferring, TrainingSteps, host_batches, stepper
from hal.job.stored_plans import Fingerprint
from hal.measure import BlockTimer, Environment, Measurement, Settings, measure, warm_up
from hal.processes.launch import StepBroadcaster, finish_steps, launch, pinned, run_broadcast_steps
from hal.tuner.guard import (
    STEPS,
    Curve,
    baseline_of,
    compare_curves,
    compare_outputs,
    curve,
    noise,
    outputs,
    tolerance,
)
from hal.tuner.messages import Answer, Description, Order
from hal.tuner.result import Guard, Outcome, Phases, Summary

__all__ = ["Bench", "outcome_of", "trial_worker"]

_TARGET_STEPS = 40
"""Steps of the default plan after which its loss is the target of ``time_to_loss``."""

_WINDOW_SAMPLES = 320
"""A loss is the mean over the steps of so many samples, or of three steps."""

_PATIENCE = 6
"""A plan that needs so many times the samples of the default plan does not reach the loss."""


_REPEATED = 3
"""A disturbed measurement is made again unless it took more than so many times the longest steady state."""

_END, _GUARD, _TRAIN = 0, 1, 2
"""What the processes of a plan do together after the measurement."""


class _Compiling(Exception):
    """The first call of a compiled plan raised something that the backend has no name for."""


class Bench:
    """A workload on a device, ready to run under one plan after the other.

    Args:
        config: the workload and the device.
        mode: train or infer.
        phase: told the name of each phase of a trial as it begins.
    """

    def __init__(self, config: JobConfig, mode: str, phase: Callable[[str], None]) -> None:
        start = time.perf_counter()
        self._config = config
        self._job = prepare(config, mode)
        self._seed = config.seed
        self._phase = phase
        self._curves: dict[Plan, Curve] = {}
        self._outputs: dict[Plan, np.ndarray] = {}
        self._target: tuple[float, float] | None = None
        self._held: _Held | None = None
        self._noisy = False
        self._load_s: float | None = time.perf_counter() - start

    @property
    def _backend(self) -> Backend:
        return self._job.backend

    def describe(self) -> Description:
        """Where this runs, and what."""
        job = self._job
        own = job.device
        alike = [d for d in self._backend.devices() if (d.kind, d.arch, d.name) == (own.kind, own.arch, own.name)]
        return Description(
            workload=job.workload,
            device=job.device,
            devices=max(1, len(alike)),
            fingerprint=Fingerprint.of(self._backend, job.device, job.workload, job.model),
            environment=Environment.read(self._backend.versions()),
            default=job.plan,
            samples=len(job.split.train),
            images=len(job.split.train.inputs.shape) == 3,
        )

    def native_code(self, plan: Mapping[str, Any]) -> str:
        """Lines of the native framework that apply a plan outside hal."""
        return self._backend.native_code(Plan.model_validate(plan), self._job.device)

    def run(self, order: Order) -> Answer:
        """Try a plan. Never raises but for what ends the process."""
        phases: dict[str, float] = {}
        if self._load_s is not None:
            phases["load_s"], self._load_s = self._load_s, None
        try:
            self._backend.clear_caches(self._job.device)
            return self._run(order, phases)
        except _Compiling as error:
            cause = error.__cause__
            said = f"{type(cause).__name__}: {_first_line(cause)}"
            return Answer(outcome=Outcome.COMPILE, message=said, phases=Phases(**phases))
        except Exception as error:  # noqa: BLE001 - whatever a plan raises is its outcome
            outcome, message = outcome_of(error)
            return Answer(outcome=outcome, message=message, phases=Phases(**phases))

    def _run(self, order: Order, phases: dict[str, float]) -> Answer:
        with contextlib.ExitStack() as stack:
            self._phase("start processes")
            job = self._entered(order, stack)
            self._phase("compile")
            with _timed(phases, "compile_s"):
                run, own = self._built(job, stack)
                step = StepBroadcaster(job.group, own) if job.group.size > 1 else own
                self._first_call(job, step)
            self._phase("measure")
            found = self._measured(job, order, step)
            phases |= {"warmup_s": found.warmup_s, "steady_s": found.steady_s}
            summary = Summary.of(found)
            if found.stopped == "surely slower":
                job.group.broadcast_int(_END)
                return Answer(outcome=Outcome.OK, phases=Phases(**phases), measurement=summary)
            verdict = self._guarded(job, run, phases) if order.guard else None
            samples = None
            if order.to_loss and (verdict is None or verdict.passed) and isinstance(run, TrainingSteps):
                self._phase("train to the loss")
                job.group.broadcast_int(_TRAIN)
                samples = self._samples_to_loss(job, run)
            job.group.broadcast_int(_END)
        answer: dict[str, Any] = {"phases": Phases(**phases), "measurement": summary, "guard": verdict}
        if verdict is not None and not verdict.passed:
            finite = len(verdict.losses) == verdict.steps and verdict.loss_error is not None
            outcome = Outcome.DIVERGED if finite else Outcome.NAN
            return Answer(outcome=outcome, message=verdict.message or "not finite", **answer)
        if order.to_loss and samples is None:
            said = f"did not reach the loss of the default plan within {_PATIENCE} times its samples"
            return Answer(outcome=Outcome.DIVERGED, message=said, **answer)
        return Answer(outcome=Outcome.OK, samples_to_loss=samples, **answer)

    def _entered(self, order: Order, stack: contextlib.ExitStack) -> Job:
        """The job of an order with the processes that it wants, its settings applied."""
        job = with_plan(self._job, order.plan)
        task = {"keys": pinned(self._config, job), "mode": job.workload.mode}
        job = stack.enter_context(launch(job, "hal.tuner.trial:trial_worker", task))
        stack.enter_context(classified(self._backend))
        stack.enter_context(self._backend.settings(job.plan, job.device))
        return job

    def take_part(self) -> None:
        """In a process of a rank above 0: do what rank 0 does in :meth:`run` or :meth:`hold`."""
        with contextlib.ExitStack() as stack:
            job = stack.enter_context(launch(self._job, "", {}))
            stack.enter_context(classified(self._backend))
            stack.enter_context(self._backend.settings(job.plan, job.device))
            run, own = self._built(job, stack)
            steps = itertools.count()

            def step() -> None:
                own()
                if next(steps) == 0:  # rank 0 counts from here as well
                    self._backend.reset_peak_memory(job.device)

            run_broadcast_steps(job.group, {0: step})
            while what := job.group.broadcast_int(_END):
                if what == _TRAIN and isinstance(run, TrainingSteps):
                    self._samples_to_loss(job, run)
                elif isinstance(run, TrainingSteps):
                    curve(job, run, list(islice(host_batches(job, self._seed), STEPS)))
                else:
                    outputs(job, run, next(host_batches(job, self._seed)))

    def _built(self, job: Job, stack: contextlib.ExitStack) -> tuple[TrainingSteps | Inferring, Callable[[], object]]:
        feed = stack.enter_context(feeding(job, host_batches(job, self._seed), waits=job.split.train.waits))
        run = stepper(job, self._seed)
        return run, lambda: run(next(feed))

    def _first_call(self, job: Job, step: Callable[[], object]) -> None:
        try:
            step()
            self._backend.synchronize(job.device)
        except Exception as error:
            if isinstance(error, HalError) or self._backend.classify(error) is not None or job.plan.compile == "eager":
                raise
            raise _Compiling from error

    def _measured(self, job: Job, order: Order, step: Callable[[], object]) -> Measurement:
        backend, device = self._backend, job.device
        backend.reset_peak_memory(device)
        settings = Settings(
            min_seconds=min(0.5, order.seconds),
            max_seconds=order.seconds,
            target_relative_width=order.relative_width,
            warmup_max_seconds=order.seconds,
            min_blocks=6,
            seed=self._seed,
        )

        def once() -> Measurement:
            return measure(
                step,
                lambda: backend.synchronize(device),
                samples_per_step=job.plan.batch,
                settings=settings,
                beat=order.beat,
                latency=order.latency,
                telemetry=lambda: backend.telemetry(device),
                versions=backend.versions(),
            )

        start = time.perf_counter()
        found = once()
        quick = time.perf_counter() - start <= _REPEATED * order.seconds
        if found.environment.disturbed and quick and not self._noisy:
            again = once()
            self._noisy = again.environment.disturbed  # a host that is never quiet is not waited for
            found = min(found, again, key=lambda each: each.environment.taken_cores)
        return found.model_copy(update={"peak_memory_bytes": finish_steps(job.group, (step,))})

    # Numerics

    def _guarded(self, job: Job, run: TrainingSteps | Inferring, phases: dict[str, float]) -> Guard:
        batches = list(islice(host_batches(job, self._seed), STEPS if isinstance(run, TrainingSteps) else 1))
        with _timed(phases, "reference_s"):
            self._phase("reference")
            reference = self._reference_job(job.plan)
            self._refer(reference)
        self._phase("guard")
        job.group.broadcast_int(_GUARD)
        with _timed(phases, "guard_s"):
            if isinstance(run, Inferring):
                return compare_outputs(
                    outputs(job, run, batches[0]), self._outputs[reference.plan], tolerance(job.plan)
                )
            return compare_curves(curve(job, run, batches), self._curves[reference.plan], tolerance(job.plan))

    def _reference_job(self, plan: Plan) -> Job:
        # Statistics of a batch are those of its parts, so another number of parts is another computation.
        parts = plan.accumulate if self._job.state else 1
        return with_plan(self._job, baseline_of(plan, accumulate=parts))

    def _refer(self, job: Job) -> None:
        """Run a reference, unless that was done; in this process alone."""
        if job.plan in self._curves or job.plan in self._outputs:
            return
        batches = list(islice(host_batches(job, self._seed), STEPS if job.workload.mode == "train" else 1))
        with self._backend.settings(job.plan, job.device):
            run = stepper(job, self._seed)
            if isinstance(run, Inferring):
                self._outputs[job.plan] = outputs(job, run, batches[0])
                return
            found = curve(job, run, batches)
            if not all(map(math.isfinite, found.losses)):
                raise NumericsError("the reference, fp32 eager, has a loss that is not finite", fix="mend the model")
            plain = replace(job, augment=())
            loss, cosine = noise(plain, TrainingSteps(plain, self._seed), batches)
            self._curves[job.plan] = replace(found, noise_loss=loss, noise_cosine=cosine)

    # Convergence

    def _samples_to_loss(self, job: Job, run: TrainingSteps) -> float | None:
        if self._target is None and job.group.rank == 0:
            reference = self._reference_job(self._job.plan)
            with self._backend.settings(reference.plan, reference.device):
                own = TrainingSteps(reference, self._seed)
                losses = list(islice(self._losses(reference, own), _TARGET_STEPS))
            self._target = losses[-1], float(_TARGET_STEPS * reference.plan.batch)
        target, samples = self._target or (0.0, 0.0)
        for index, loss in enumerate(self._losses(job, run), start=1):
            over = loss <= target or index * job.plan.batch >= _PATIENCE * samples or math.isnan(loss)
            if job.group.broadcast_int(int(over)):
                return float(index * job.plan.batch) if loss <= target else None
        return None

    def _losses(self, job: Job, run: TrainingSteps) -> Iterator[float]:
        """Running means of the loss, one a step; infinite for the first two, which are no mean."""
        run.restart()
        window: deque[float] = deque(maxlen=max(3, _WINDOW_SAMPLES // job.plan.batch))
        for batch in host_batches(job, self._seed):
            metrics: Mapping[str, Any] = run(put_batch(job, batch))
            window.append(sum(float(job.backend.to_host(x)) for n, x in metrics.items() if n.endswith("loss")))
            yield sum(window) / len(window) if len(window) >= 3 else math.inf

    # Turns with other workers

    def hold(self, order: Order) -> int:
        """Build a plan and warm it up, to run blocks when asked; how many steps a block needs."""
        self.drop()
        self._backend.clear_caches(self._job.device)
        with contextlib.ExitStack() as stack:
            job = self._entered(order, stack)
            _, own = self._built(job, stack)
            lead = StepBroadcaster(job.group, own, ahead=1) if job.group.size > 1 else None
            step = lead or own
            wait = partial(self._backend.synchronize, job.device)
            timer = BlockTimer(step, wait, time.perf_counter, each=order.latency)
            settings = Settings(warmup_max_seconds=order.seconds, max_seconds=max(1.0, order.seconds))
            timer.block(1)
            steps = warm_up(timer, settings).steps_per_block(settings)
            self._held = _Held(timer, stack.pop_all(), lead, partial(_let_go, job, step))
        return steps

    def block(self, steps: int) -> float:
        """Seconds of a block of the plan that is held; a step that is not timed comes before several."""
        if self._held is None:
            raise RequestError("no plan is held")
        untimed = int(steps > 1)
        if self._held.lead is not None:
            self._held.lead.announce(untimed + steps)  # and nothing that would run beside another plan's block
        return self._held.timer.block(steps, untimed=untimed)

    def drop(self) -> None:
        """Let go of the plan that is held."""
        if self._held is not None:
            held, self._held = self._held, None
            with held.stack:
                held.let_go()


def trial_worker(keys: Mapping[str, Any], mode: str) -> None:
    """Take part in a trial that rank 0 leads.

    Args:
        keys: of the workload, the device and the plan.
        mode: train or infer.
    """
    Bench(build(JobConfig, keys), mode, lambda phase: None).take_part()


def _let_go(job: Job, step: Callable[[], object]) -> None:
    finish_steps(job.group, (step,))
    job.group.broadcast_int(_END)


class _Held:
    def __init__(
        self, timer: BlockTimer, stack: contextlib.ExitStack, lead: StepBroadcaster | None, let_go: Callable[[], None]
    ) -> None:
        self.timer, self.stack, self.lead, self.let_go = timer, stack, lead, let_go


def outcome_of(error: BaseException) -> tuple[Outcome, str]:
    """What an exception stands for."""
    said = f"{type(error).__name__}: {_first_line(error)}"
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return Outcome.OOM, said
    if isinstance(error, NumericsError):
        return Outcome.NAN, said
    if isinstance(error, (RequestError, UnavailableError)):
        return Outcome.UNSUPPORTED, said
    return Outcome.FAILED, said


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:300]


@contextlib.contextmanager
def _timed(phases: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        phases[name] = time.perf_counter() - start
