"""Builds the real step of a model for hardware that is not here, and asks its compiler: what ``hal compile`` does."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from hal import registry
from hal.config import CompileConfig
from hal.contract import Backend, Group, Unavailable
from hal.data import batches, load
from hal.errors import ConfigError, PlanError, RunError, UnavailableError, UnsupportedError
from hal.hardware import Device
from hal.nn import Defaults, Model, Param
from hal.plan import Plan
from hal.program import ArrayShape, DoesNotFitError, Program
from hal.run.files import make_folder, write_whole
from hal.run.largest import Attempt, largest_batch
from hal.run.precision import initial_scale
from hal.run.record import DeviceFacts
from hal.run.step import Step, prediction, trained_names
from hal.tensor.optimizers import Slots
from hal.types import Tree
from hal.workload import Workload, configure, model_class

__all__ = ["Compilation", "Limit", "MemoryFigures", "compile_absent"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryFigures(_Frozen):
    """Memory of one device that a program needs, in bytes, by kind; see :class:`hal.program.Memory`."""

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    peak: int
    total: int


class CostFigures(_Frozen):
    """What one step costs one device; see :class:`hal.program.Cost`."""

    flops: float | None
    bytes: float | None
    estimate_s: float | None
    source: str
    counted: str


class Limit(_Frozen):
    """The largest batch that fits, found by asking the compiler.

    Attributes:
        batch: it was built and fits; 0: none does.
        refused: a larger one that was tried and does not; None: nothing but ``reason`` stopped the search.
        reason: why the refused one does not fit, or what stopped the search.
        builds: programs compiled on the way.
        seconds: that it took.
    """

    batch: int
    refused: int | None
    reason: str
    builds: int
    seconds: float


class Compilation(_Frozen):
    """What a target's compiler says of a workload under a plan. Figures are of one of the target's devices."""

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
    memory: MemoryFigures | None = None
    needed_bytes: int | None = None
    cost: CostFigures | None = None
    largest: Limit | None = None
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


@dataclass(frozen=True)
class _Task:
    """A workload before it has arrays."""

    backend: Backend
    device: Device
    model: Model
    defaults: Defaults
    mode: str
    sample: Mapping[str, np.ndarray]
    augment: tuple[str, ...]

    def program(self, plan: Plan) -> tuple[Any, Sequence[Any], tuple[int, ...]]:
        """The function, its arguments' shapes, and the positions of those it consumes."""
        params, state = self.model.params(), self.model.state()
        rows = {name: (plan.batch, *x.shape[1:]) for name, x in self.sample.items()}
        batch = {name: ArrayShape(rows[name], str(x.dtype), split=True) for name, x in self.sample.items()}
        if self.mode == "infer":
            function = prediction(self.model, plan, params)
            return function, (_shapes(params), _shapes(state), batch["inputs"]), ()
        phase = self.model.phases(1)[0]
        optimizer = self.backend.optimizer(self.defaults.optimizer, self.defaults.hyper)
        step = Step(
            Group(self.backend, self.device), self.model, phase, plan, optimizer, params, augmentations=self.augment
        )
        number = ArrayShape((), "float32")
        optimizers = {}
        for objective in phase.objectives:
            trained = _shapes({name: params[name] for name in trained_names(objective, params)})
            optimizers[objective.name] = {"step": number, **dict.fromkeys(Slots[self.defaults.optimizer], trained)}
        scale = dict.fromkeys(initial_scale(plan.precision), number)
        carry = {"params": _shapes(params), "state": _shapes(state), "optimizers": optimizers, "scale": scale}
        key = self.backend.rng(0, self.device)
        return step.function(), (carry, batch, key, self.defaults.lr), (0,)

    def build(self, plan: Plan) -> Program:
        """Compile it for the target."""
        function, arguments, donate = self.program(plan)
        return self.backend.build(function, arguments, self.device, plan, donate=donate)


def _shapes(specs: Mapping[str, Any]) -> Tree:
    return {
        name: ArrayShape(spec.shape, "float32") if isinstance(spec, Param) else _shapes(spec)
        for name, spec in specs.items()
    }


def compile_absent(config: CompileConfig, tell: Callable[[str], None] = lambda text: None) -> Compilation:
    """Build a workload's step for a target, and find the largest batch that fits.

    Args:
        config: what for which target.
        tell: called with what is being built.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the target's compiler is not installed.
    """
    task, plan, workload = _prepare(config)
    folder = None if config.out is None else Path(config.out).expanduser()
    if folder is not None and folder.exists():
        raise ConfigError(f"out={folder} exists already and stays as it is", fix="choose another out=")
    about: dict[str, Any] = {
        "workload": workload,
        "target": task.device.kind,
        "device": DeviceFacts.of(task.device),
        "devices": int(task.device.facts["devices"]),
        "plan": plan,
    }
    program: Program | None = None
    tell(f"building batch {plan.batch:,} for {task.device.kind}")
    try:
        program = task.build(plan)
        first = Attempt(True, None if program.memory is None else program.memory.total, seconds=program.seconds)
        about |= {"stage": "lowered" if program.memory is None else "compiled", "fits": program.fits}
    except DoesNotFitError as refused:
        program = refused.program
        first = Attempt(False, refused.needed_bytes, refused.message)
        about |= {"stage": "compiled" if program else "refused", "fits": False, "reason": refused.message}
        about |= {"needed_bytes": refused.needed_bytes, "usable_bytes": refused.usable_bytes}
    except (RunError, UnsupportedError) as refused:
        return Compilation.model_validate({**about, "stage": "refused", "reason": refused.message})
    if program is not None:
        about |= _figures(program)
    if config.largest and (program is None or program.memory is not None):
        about["largest"] = _limit(task, plan, first, about.get("usable_bytes"), config.seconds, tell)
    if folder is not None and program is not None:
        about["artifacts"] = _kept(folder, program)
    found = Compilation.model_validate(about)
    if folder is not None:
        make_folder(folder)
        write_whole(folder / "compilation.json", (found.model_dump_json(indent=1) + "\n").encode())
    return found


def _prepare(config: CompileConfig) -> tuple[_Task, Plan, Workload]:
    if config.model is None:
        raise ConfigError("no model was named", fix="write for example: model=cnn")
    if config.target is None:
        raise ConfigError("no target was named", fix="write for example: target=tpu-v5e:2x2")
    backend, device = _target(config.target)
    state = backend.probe()
    if isinstance(state, Unavailable):
        raise UnavailableError(f"target={config.target}: {state.reason}", fix=state.fix)
    cls = model_class(config.model.name)
    keys = configure(cls, config.model.keys())
    defaults = cls.defaults_for(keys)
    plan = config.base_plan(defaults.batch).resolve(device)
    devices = int(device.facts["devices"])
    spread = plan.spread().get("dp", 1)
    if spread not in (1, devices):
        raise PlanError(
            f"parallel={plan.parallel} does not fit target={device.kind}, which has {devices} devices",
            fix=f"use parallel=dp={devices}, all of them, or parallel=none, one of them"
            if devices > 1
            else "leave it out",
        )
    if config.mode == "infer" and plan.accumulate != 1:
        raise ConfigError("accumulate= splits optimizer steps, and inference has none", fix="leave accumulate out")
    split = load(config.data.name or defaults.data, cls.wanted(keys), validation=config.data.validation, seed=0)
    model = cls(keys, split.train)
    sample = next(iter(batches(split.train, 1, seed=0, epoch=0)))
    if config.mode == "infer":
        sample = {"inputs": model.inference_inputs(sample["inputs"])}
    workload = Workload.model_validate(
        {
            "model": config.model.name,
            "keys": keys.model_dump(mode="json"),
            "data": config.data.name or defaults.data,
            "mode": config.mode,
            "input_shape": tuple(split.train.inputs.shape),
        }
    )
    augment = defaults.augment if config.data.augment is None else tuple(config.data.augment)
    return _Task(backend, device, model, defaults, config.mode, sample, augment), plan, workload


def _target(name: str) -> tuple[Backend, Device]:
    """The backend that builds for a target, and the target as a device."""
    known: list[str] = []
    for each in registry.names():
        try:
            backend = registry.backend(each)
        except UnavailableError:
            continue  # `hal devices` tells of it
        device = backend.target(name)
        if device is not None:
            return backend, device
        known += backend.targets()
    near = difflib.get_close_matches(name.partition(":")[0], known, n=1)
    raise ConfigError(
        f"target={name} is not known" + (f"; did you mean {near[0]}?" if near else ""),
        fix=f"targets: {', '.join(dict.fromkeys(known)) or 'no backend offers any'}",
    )


def _figures(program: Program) -> dict[str, Any]:
    memory = program.memory
    return {
        "compile_s": program.seconds,
        "usable_bytes": program.usable_bytes,
        "memory": None if memory is None else {**asdict(memory), "total": memory.total},
        "needed_bytes": None if memory is None else memory.total,
        "cost": asdict(program.cost),
    }


def _limit(
    task: _Task, plan: Plan, first: Attempt, capacity: int | None, seconds: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    def attempt(batch: int) -> Attempt:
        tell(f"looking for the largest batch: building {batch:,}")
        began = time.monotonic()
        try:
            program = task.build(plan.model_copy(update={"batch": batch}))
        except DoesNotFitError as refused:
            return Attempt(False, refused.needed_bytes, refused.message, time.monotonic() - began)
        except (RunError, UnsupportedError) as refused:
            return Attempt(False, None, refused.message, time.monotonic() - began)
        return Attempt(True, None if program.memory is None else program.memory.total, seconds=program.seconds)

    found = largest_batch(
        attempt,
        start=plan.batch,
        unit=plan.spread().get("dp", 1) * plan.accumulate,
        capacity_bytes=capacity,
        known=first,
        budget_s=seconds,
    )
    return {name: getattr(found, name) for name in Limit.model_fields}


def _kept(folder: Path, program: Program) -> tuple[str, ...]:
    make_folder(folder)
    kept = []
    for name, text in program.artifacts().items():
        write_whole(folder / name, text.encode())
        kept.append(str(folder / name))
    return tuple(kept)
