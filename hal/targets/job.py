"""A workload on hardware that is not here: the real step, built by the target's own compiler."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hal import registry
from hal.contract import BuildsTargets, Group, Unavailable
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.contract.program import ArrayShape, Program, Target
from hal.data import batches, load
from hal.errors import ConfigError, PlanError, UnavailableError
from hal.job.precision import initial_scale
from hal.job.prepare import require_training
from hal.job.step import Step, prediction, trained_names
from hal.nn import Defaults, Model, Param
from hal.targets.config import CompileConfig
from hal.tensor.optimizers import Slots
from hal.types import Tree
from hal.workload import Workload, configure, model_class

__all__ = ["TargetJob", "prepare_target"]

_MOST = 2**31 - 1
"""Sizes are 32-bit numbers to compilers; some end the process at a larger one."""


@dataclass(frozen=True)
class TargetJob:
    """A model on a target, before it has arrays, under a plan that the target can follow.

    Attributes:
        samples: in the training set.
        sample: one of them, as a batch of one.
    """

    backend: BuildsTargets
    target: Target
    model: Model
    defaults: Defaults
    workload: Workload
    plan: Plan
    samples: int
    sample: Mapping[str, np.ndarray]
    augment: tuple[str, ...]

    @property
    def device(self) -> Device:
        """One of the target's devices."""
        return self.target.device

    @property
    def devices(self) -> int:
        """How many devices the target has."""
        return self.target.devices

    def resolved(self, plan: Plan) -> Plan:
        """A plan with the target's defaults.

        Raises:
            PlanError: the plan contradicts itself, or spreads over a part of the target.
            UnsupportedError: the target cannot do what the plan asks.
            ConfigError: the workload cannot be run by this plan.
        """
        return _resolved(plan, self.target, self.workload.mode)

    def program(self, plan: Plan) -> tuple[Any, Sequence[Any], tuple[int, ...]]:
        """The function, its arguments' shapes, and the positions of those it consumes."""
        params, state = self.model.params(), self.model.state()
        rows = {name: (plan.batch, *x.shape[1:]) for name, x in self.sample.items()}
        batch = {name: ArrayShape(rows[name], str(x.dtype), split=True) for name, x in self.sample.items()}
        if self.workload.mode == "infer":
            function = prediction(self.model, plan, params)
            return function, (_shapes(params), _shapes(state), batch["inputs"]), ()
        phase = self.model.phases(1)[0]
        optimizer = self.backend.optimizer(self.defaults.optimizer, self.defaults.hyper)
        group = Group(self.backend, self.device)
        step = Step(group, self.model, phase, plan, optimizer, params, augmentations=self.augment)
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


def prepare_target(config: CompileConfig) -> TargetJob:
    """Resolve a config into a job.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the backend that builds for the target cannot run here.
    """
    if config.model is None:
        raise ConfigError("no model was named", fix="write for example: model=cnn")
    if config.target is None:
        raise ConfigError("no target was named", fix="write for example: target=tpu-v5e:2x2")
    backend, target = _target(config.target)
    state = backend.probe()
    if isinstance(state, Unavailable):
        raise UnavailableError(f"target={config.target}: {state.reason}", fix=state.fix)
    if config.mode == "train":
        require_training(target.device)
    cls = model_class(config.model.name)
    keys = configure(cls, config.model.keys())
    defaults = cls.defaults_for(keys)
    plan = _resolved(config.base_plan(defaults.batch), target, config.mode)
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
    return TargetJob(backend, target, model, defaults, workload, plan, len(split.train), sample, augment)


def _resolved(plan: Plan, target: Target, mode: str) -> Plan:
    devices = target.devices
    plan = plan.resolve(target.device)
    if plan.spread().get("dp", 1) not in (1, devices):
        raise PlanError(
            f"parallel={plan.parallel} does not fit target={target.device.kind}, which has {devices} devices",
            fix=f"use parallel=dp={devices}, all of them, or parallel=none, one of them"
            if devices > 1
            else "leave it out",
        )
    if plan.batch > _MOST:
        raise ConfigError(f"batch={plan.batch} is more than compilers count: {_MOST}", fix="give a smaller batch=")
    if mode == "infer" and plan.accumulate != 1:
        raise ConfigError("accumulate= splits optimizer steps, and inference has none", fix="leave accumulate out")
    return plan


def _target(name: str) -> tuple[BuildsTargets, Target]:
    """The backend that builds for a target, and the target."""
    known: list[str] = []
    for each in registry.names():
        try:
            backend = registry.backend(each)
        except UnavailableError:
            continue  # `hal devices` tells of it
        if not isinstance(backend, BuildsTargets):
            continue
        target = backend.target(name)
        if target is not None:
            return backend, target
        known += backend.targets()
    near = difflib.get_close_matches(name.partition(":")[0], known, n=1)
    raise ConfigError(
        f"target={name} is not known" + (f"; did you mean {near[0]}?" if near else ""),
        fix=f"targets: {', '.join(dict.fromkeys(known)) or 'no backend offers any'}",
    )
