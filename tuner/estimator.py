"""One trial for hardware that is not present: the target's compiler builds the plan and reports what it needs.

Nothing runs, so there is no measurement, no interval and no numerics guard. The answers are estimates and name their
source. A worker uses it in place of :class:`hal.tuner.trial.TrialRunner`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hal.contract.plan import Plan
from hal.contract.program import ArrayShape, Program
from hal.errors import ConfigError, RunError, UnsupportedError
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment
from hal.targets.config import CompileConfig
from hal.targets.job import prepare_target
from hal.tuner.messages import Answer, Description, Order
from hal.tuner.outcomes import outcome_of
from hal.tuner.trial_result import Estimated, Outcome, Phases

__all__ = ["Estimator"]


class Estimator:
    """A workload for a target, ready to be built under one plan after the other.

    Args:
        config: the workload and the target.
        phase: called with the name of each phase of a trial when the phase begins.

    Raises:
        RequestError: the request is wrong, or nothing can be estimated for the target.
        UnavailableError: the target's compiler is not installed.
    """

    def __init__(self, config: CompileConfig, phase: Callable[[str], None]) -> None:
        start = time.perf_counter()
        self._job = prepare_target(config)
        if self._job.plan.compile == "eager":
            raise ConfigError(
                f"compile=eager cannot be used with target={config.target}, whose programs are always compiled",
                fix="leave compile out",
            )
        self._phase = phase
        self._require_compiler()
        self._load_s: float | None = time.perf_counter() - start

    def _require_compiler(self) -> None:
        """Build a tiny program, to find out whether the compiler works before plans are tried with it."""
        job = self._job
        program = job.backend.build(lambda x: x + x, [ArrayShape((8,), "float32")], job.device, job.plan)
        if program.memory is None:
            raise UnsupportedError(
                f"target={job.device.kind} cannot be tuned for: its compiler does not run without the device, so "
                "programs are only lowered, and their memory and speed are unknown",
                fix="tune on the device itself, or look at the lowered program with hal compile",
            )

    def describe(self) -> Description:
        """The target, the workload and the default plan."""
        job = self._job
        can = job.device.capabilities
        built = replace(can, compile=tuple(each for each in can.compile if each != "eager"))
        return Description(
            workload=job.workload,
            device=replace(job.device, capabilities=built),
            devices=job.devices,
            target=job.device.kind,
            fingerprint=Fingerprint.of(job.backend, job.device, job.workload, job.model),
            environment=Environment.read(job.backend.versions()),
            default=job.plan,
            samples=job.samples,
            images=len(job.workload.input_shape) == 3,
        )

    def native_code(self, plan: Mapping[str, Any]) -> str:
        """Source lines for the native framework that apply a plan without hal."""
        job = self._job
        inputs = job.sample["inputs"]
        names = tuple(inputs) if isinstance(inputs, Mapping) else ()
        return job.backend.native_code(Plan.model_validate(plan), job.device, job.workload.mode, names)

    def run(self, order: Order) -> Answer:
        """Build a plan. An error of the plan is returned as the outcome and never raised."""
        load_s, self._load_s = self._load_s, None
        self._phase("build")
        start = time.perf_counter()
        try:
            program = self._job.build(self._job.resolved(order.plan))
            found = _estimated(program, order.plan)
        except RunError as error:
            return Answer(outcome=Outcome.COMPILE, message=error.message, phases=Phases(load_s=load_s))
        except Exception as error:  # noqa: BLE001 - whatever a plan raises is its outcome
            outcome, message = outcome_of(error)
            return Answer(outcome=outcome, message=message, phases=Phases(load_s=load_s))
        phases = Phases(load_s=load_s, compile_s=time.perf_counter() - start)
        if program.fits is False:
            said = (
                f"the program needs {found.memory_bytes:,} bytes on each device, but only "
                f"{found.usable_bytes:,} are usable"
            )
            return Answer(outcome=Outcome.OOM, message=said, phases=phases)
        return Answer(outcome=Outcome.OK, phases=phases, estimate=found)


def _estimated(program: Program, plan: Plan) -> Estimated:
    step_s = program.cost.estimate_s or None
    return Estimated(
        throughput=None if step_s is None else plan.batch / step_s,
        step_ms=None if step_s is None else 1000 * step_s,
        memory_bytes=None if program.memory is None else program.memory.total,
        usable_bytes=program.usable_bytes,
        source=program.cost.source,
    )
