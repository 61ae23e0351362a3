"""Compiles the real step of a model for hardware that is not present: what ``hal compile`` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hal.contract.device import DeviceFacts
from hal.contract.plan import Plan
from hal.contract.program import DoesNotFitError, KernelUse, Program, ProgramCost, ProgramMemory
from hal.errors import RunError, UnsavedError, UnsupportedError
from hal.targets.config import CompileConfig
from hal.targets.job import TargetJob, prepare_target
from hal.targets.largest_batch import Attempt, LargestBatch, largest_batch
from hal.targets.waiting import wait_for
from hal.util.files import check_new, write_result, write_whole
from hal.util.paths import user_path
from hal.util.telling import lasting_note
from hal.workload import Workload

__all__ = ["Compilation", "compile_for_target"]


class Compilation(BaseModel):
    """What a target's compiler says of a workload under a plan. Figures are of one of the target's devices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    workload: Workload
    target: str
    device: DeviceFacts
    devices: int
    plan: Plan
    stage: Literal["compiled", "lowered", "refused"]
    reason: str = ""
    compile_s: float | None = None
    usable_bytes: int | None = None
    fits: bool | None = None
    memory: ProgramMemory | None = None
    needed_bytes: int | None = None
    cost: ProgramCost | None = None
    kernels: tuple[KernelUse, ...] = ()
    largest: LargestBatch | None = None
    artifacts: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 where it builds and fits, 4 where it does not fit, 1 where the compiler refuses it for another reason."""
        if self.fits is False:
            return 4
        return 1 if self.stage == "refused" else 0

    @property
    def samples_per_s(self) -> float | None:
        """The estimate of throughput, of all devices that the plan uses."""
        return None if self.cost is None or not self.cost.estimate_s else self.plan.batch / self.cost.estimate_s


def compile_for_target(config: CompileConfig, tell: Callable[[str], None] = lambda text: None) -> Compilation:
    """Build a workload's step for a target, and find the largest batch that fits.

    Args:
        config: what for which target.
        tell: called with what is being built.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the target's compiler is not installed.
        UnsavedError: it cannot be written to ``out``; carries what the compiler said.
    """
    until, tell = time.monotonic() + config.seconds, lasting_note(tell)
    folder = None if config.out is None else user_path(config.out)
    if folder is not None:
        check_new(folder)
    job = prepare_target(config)
    about: dict[str, Any] = {
        "workload": job.workload,
        "target": job.device.kind,
        "device": DeviceFacts.of(job.device),
        "devices": job.devices,
        "plan": job.plan,
    }
    tell(f"compiling batch {job.plan.batch:,} for {job.device.kind}")
    first = _answered(job, job.plan.batch)
    program = first.program
    about |= {"needed_bytes": first.attempt.needed_bytes, "reason": first.attempt.reason}
    if first.attempt.fits:
        assert program is not None
        about |= {"stage": "lowered" if program.memory is None else "compiled", "fits": program.fits}
    elif first.unfit is not None:
        about |= {
            "stage": "compiled" if program else "refused",
            "fits": False,
            "usable_bytes": first.unfit.usable_bytes,
        }
    else:
        return Compilation.model_validate({**about, "stage": "refused"})
    if program is not None:
        about |= _figures(program)
    if config.largest and (program is None or program.memory is not None):
        about["largest"] = _largest(job, first.attempt, about.get("usable_bytes"), until, tell)
    found = Compilation.model_validate(about)
    return found if folder is None else _saved(found, folder, program)


def _figures(program: Program) -> dict[str, Any]:
    memory = program.memory
    return {
        "compile_s": program.seconds,
        "usable_bytes": program.usable_bytes,
        "memory": memory,
        "needed_bytes": None if memory is None else memory.total,
        "cost": program.cost,
        "kernels": program.kernels,
    }


def _largest(
    job: TargetJob, first: Attempt, capacity: int | None, until: float, tell: Callable[[str], None]
) -> LargestBatch:
    def attempt(batch: int) -> Attempt:
        tell(f"looking for the largest batch: compiling batch {batch:,}")
        return _answered(job, batch, until).attempt

    return largest_batch(
        attempt,
        start=job.plan.batch,
        unit=job.plan.spread().get("dp", 1) * job.plan.accumulate,
        capacity_bytes=capacity,
        known=first,
        budget_s=until - time.monotonic(),
    )


@dataclass(frozen=True)
class _Answer:
    """What the compiler said: ``program`` where it built one, ``unfit`` where that needs too much memory."""

    attempt: Attempt
    program: Program | None = None
    unfit: DoesNotFitError | None = None


def _answered(job: TargetJob, batch: int, until: float | None = None) -> _Answer:
    """Build for a batch size.

    Raises:
        TimeoutError: it did not end in time.
    """
    return wait_for(lambda: _build(job, batch), until, f"compiling batch {batch:,} took longer than seconds= allows")


def _build(job: TargetJob, batch: int) -> _Answer:
    began = time.monotonic()
    try:
        program = job.build(job.plan.model_copy(update={"batch": batch}))
    except DoesNotFitError as refused:
        spent_s = time.monotonic() - began
        return _Answer(Attempt(False, refused.needed_bytes, refused.message, spent_s), refused.program, refused)
    except (RunError, UnsupportedError) as refused:
        return _Answer(Attempt(False, None, refused.message, time.monotonic() - began))
    needed = None if program.memory is None else program.memory.total
    return _Answer(Attempt(True, needed, seconds=program.seconds), program)


def _saved(found: Compilation, folder: Path, program: Program | None) -> Compilation:
    """Write the result, then the texts of the program."""
    texts = {} if program is None else {folder / name: text for name, text in program.artifacts().items()}
    found = found.model_copy(update={"artifacts": tuple(map(str, texts))})
    write_result(folder / "compilation.json", found)
    try:
        for path, text in texts.items():
            write_whole(path, text.encode())
    except OSError as error:
        raise UnsavedError(f"cannot write {error.filename}: {error.strerror}", found) from error
    return found
