"""The worker's side of a trial: build a plan, run it, measure it, and have its results checked."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hal.config import JobConfig, build
from hal.contract import Backend
from hal.contract.plan import Plan
from hal.errors import HalError, RequestError
from hal.job.errors import classified
from hal.job.placing import feeding
from hal.job.prepare import Job, prepare, with_plan
from hal.job.steps import Inferring, TrainingSteps, host_batches, stepper
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment, Measurement, Settings, measure
from hal.processes.launch import StepBroadcaster, finish_steps, launch, pinned, run_broadcast_steps
from hal.tuner.convergence import PATIENCE, LossTarget
from hal.tuner.held_plan import HeldPlan
from hal.tuner.messages import Answer, Description, Order
from hal.tuner.outcomes import first_line, outcome_of
from hal.tuner.reference import References, guard_steps
from hal.tuner.trial_result import Guard, Outcome, Phases, Summary

__all__ = ["TrialRunner", "trial_worker"]

_MOST_REPEATED = 3
"""A disturbed measurement that took more than this many times the longest steady state is not repeated."""

_END, _GUARD, _TRAIN = 0, 1, 2
"""What rank 0 tells the other processes of a plan to do after the measurement."""


class _CompileError(Exception):
    """The first call of a compiled plan raised an error that the backend does not classify."""


class TrialRunner:
    """A workload on a device, ready to run under one plan after the other.

    Args:
        config: the workload and the device.
        mode: train or infer.
        phase: called with the name of each phase of a trial when the phase begins.
    """

    def __init__(self, config: JobConfig, mode: str, phase: Callable[[str], None]) -> None:
        start = time.perf_counter()
        self._config = config
        self._job = prepare(config, mode)
        self._seed = config.seed
        self._phase = phase
        self._references = References(self._job, self._seed)
        self._target = LossTarget(self._job, self._seed)
        self._held: HeldPlan | None = None
        self._always_disturbed = False
        self._load_s: float | None = time.perf_counter() - start

    @property
    def _backend(self) -> Backend:
        return self._job.backend

    def describe(self) -> Description:
        """The device, the workload and the default plan."""
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
            own_ops=job.model.uses_ops(self._backend),
        )

    def native_code(self, plan: Mapping[str, Any]) -> str:
        """Source lines for the native framework that apply a plan without hal."""
        job = self._job
        names = tuple(job.split.train.parts)
        return self._backend.native_code(Plan.model_validate(plan), job.device, job.workload.mode, names)

    def run(self, order: Order) -> Answer:
        """Run one trial. An error of the plan is returned as the outcome and never raised."""
        phases: dict[str, float] = {}
        if self._load_s is not None:
            phases["load_s"], self._load_s = self._load_s, None
        try:
            self._backend.clear_caches(self._job.device)
            return self._run(order, phases)
        except _CompileError as error:
            cause = error.__cause__
            said = f"{type(cause).__name__}: {first_line(cause)}"
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
                samples = self._target.samples_needed(job, run)
            job.group.broadcast_int(_END)
        answer: dict[str, Any] = {"phases": Phases(**phases), "measurement": summary, "guard": verdict}
        if verdict is not None and not verdict.passed:
            finite = len(verdict.losses) == verdict.steps and verdict.loss_error is not None
            outcome = Outcome.DIVERGED if finite else Outcome.NAN
            said = verdict.message or "the losses or outputs of the plan are not finite"
            return Answer(outcome=outcome, message=said, **answer)
        if order.to_loss and samples is None:
            said = f"the plan did not reach the loss of the default plan within {PATIENCE} times as many samples"
            return Answer(outcome=Outcome.DIVERGED, message=said, **answer)
        return Answer(outcome=Outcome.OK, samples_to_loss=samples, **answer)

    def _entered(self, order: Order, stack: contextlib.ExitStack) -> Job:
        """The job under the plan of an order, with the plan's processes started and its settings applied."""
        job = with_plan(self._job, order.plan)
        task = {"keys": pinned(self._config, job), "mode": job.workload.mode}
        job = stack.enter_context(launch(job, "hal.tuner.trial:trial_worker", task))
        stack.enter_context(classified(self._backend))
        stack.enter_context(self._backend.settings(job.plan, job.device))
        return job

    def take_part(self) -> None:
        """Do what rank 0 does in :meth:`run` or :meth:`hold`; for the processes of the other ranks."""
        with contextlib.ExitStack() as stack:
            job = stack.enter_context(launch(self._job, "", {}))
            stack.enter_context(classified(self._backend))
            stack.enter_context(self._backend.settings(job.plan, job.device))
            run, own = self._built(job, stack)
            steps = itertools.count()

            def step() -> None:
                own()
                if next(steps) == 0:  # rank 0 resets its peak at the same point
                    self._backend.reset_peak_memory(job.device)

            run_broadcast_steps(job.group, {0: step})
            while what := job.group.broadcast_int(_END):
                if what == _TRAIN and isinstance(run, TrainingSteps):
                    self._target.samples_needed(job, run)
                else:
                    guard_steps(job, run, self._seed)

    def _built(self, job: Job, stack: contextlib.ExitStack) -> tuple[TrainingSteps | Inferring, Callable[[], object]]:
        feed = stack.enter_context(feeding(job, host_batches(job, self._seed), job.split.train))
        run = stepper(job, self._seed)
        return run, lambda: run(next(feed))

    def _first_call(self, job: Job, step: Callable[[], object]) -> None:
        try:
            step()
            self._backend.synchronize(job.device)
        except Exception as error:
            if isinstance(error, HalError) or self._backend.classify(error) is not None or job.plan.compile == "eager":
                raise
            raise _CompileError from error

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
        quick = time.perf_counter() - start <= _MOST_REPEATED * order.seconds
        if found.environment.disturbed and quick and not self._always_disturbed:
            again = once()
            self._always_disturbed = again.environment.disturbed  # waiting for a quiet moment is of no use then
            found = min(found, again, key=lambda each: each.environment.taken_cores)
        return found.model_copy(update={"peak_memory_bytes": finish_steps(job.group, (step,))})

    def _guarded(self, job: Job, run: TrainingSteps | Inferring, phases: dict[str, float]) -> Guard:
        with _timed(phases, "reference_s"):
            self._phase("reference")
            self._references.prepare(job.plan)
        self._phase("guard")
        job.group.broadcast_int(_GUARD)
        with _timed(phases, "guard_s"):
            return self._references.compare(job, run)

    # Blocks in turn with other workers

    def hold(self, order: Order) -> int:
        """Build a plan and warm it up, to run blocks of it later; how many steps a block needs."""
        self.release()
        self._backend.clear_caches(self._job.device)
        with contextlib.ExitStack() as stack:
            job = self._entered(order, stack)
            _, own = self._built(job, stack)
            self._held = HeldPlan(job, own, stack, seconds=order.seconds, wait_each=order.latency)
        return self._held.steps_per_block

    def block(self, steps: int) -> float:
        """Seconds that a block of the held plan takes.

        Raises:
            RequestError: :meth:`hold` was not called first.
        """
        if self._held is None:
            raise RequestError("a block was requested, but no plan is held", fix="send 'hold' with a plan first")
        return self._held.block(steps)

    def release(self) -> None:
        """End the processes of the held plan and restore the settings that it changed; nothing if none is held."""
        if self._held is not None:
            held, self._held = self._held, None
            with held.resources:
                held.finish()
                held.job.group.broadcast_int(_END)


def trial_worker(keys: Mapping[str, Any], mode: str) -> None:
    """Take part in a trial as a process of a rank above 0.

    Args:
        keys: keys of the workload, the device and the plan.
        mode: train or infer.
    """
    TrialRunner(build(JobConfig, keys), mode, lambda phase: None).take_part()


@contextlib.contextmanager
def _timed(phases: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        phases[name] = time.perf_counter() - start
