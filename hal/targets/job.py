"""A workload on hardware that is not present: the real step, built by the target's own compiler."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from hal import registry
from hal.contract import BuildsTargets, Group, Unavailable
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.contract.program import ArrayShape, Program, Target
from hal.data import batches
from hal.errors import ConfigError, PlanError, UnavailableError
from hal.job.carry import carry_shapes, shapes_of
from hal.job.prepare import require_training
from hal.job.step import Step, prediction
from hal.job.workload import choose_model, resolve_workload
from hal.nn import Defaults, Model
from hal.targets.config import CompileConfig
from hal.workload import Workload

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
        params, model = self.model.params(), self.model.in_precision(plan.precision)
        batch: Any = optree.tree_map(
            lambda x: ArrayShape((plan.batch, *x.shape[1:]), str(x.dtype), split=True),
            dict(self.sample),  # type: ignore[arg-type]
        )
        if self.workload.mode == "infer":
            function = prediction(model, plan, params)
            return function, (shapes_of(params), shapes_of(self.model.state()), batch["inputs"]), ()
        phase, name = model.phases(1)[0], self.defaults.optimizer
        optimizer = self.backend.optimizer(name, self.defaults.hyper)
        group = Group(self.backend, self.device)
        step = Step(group, model, phase, plan, optimizer, params, augmentations=self.augment)
        carry = carry_shapes(model, phase, name, plan.precision)
        key = self.backend.rng(0, self.device)
        return step.function(), (carry, batch, key, self.defaults.lr), (0,)

    def build(self, plan: Plan) -> Program:
        """Compile it for the target."""
        function, arguments, donate = self.program(plan)
        return self.backend.build(function, arguments, self.device, plan, donate=donate)


def prepare_target(config: CompileConfig) -> TargetJob:
    """Resolve a config into a job.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the backend that builds for the target cannot run here.
    """
    choice = choose_model(config.model)
    if config.target is None:
        raise ConfigError("no target was given", fix="add a target, for example target=tpu-v5e:2x2")
    backend, target = _target(config.target)
    state = backend.probe_targets()
    if isinstance(state, Unavailable):
        raise UnavailableError(f"target={config.target}: {state.reason}", fix=state.fix)
    if config.mode == "train":
        require_training(target.device)
    plan = _resolved(config.base_plan(choice.defaults.batch), target, config.mode)
    found = resolve_workload(choice, config.data, config.mode, seed=0)
    found.model.check_backend(backend, training=config.mode == "train")
    sample = next(iter(batches(found.split.train, 1, seed=0, epoch=0)))
    if config.mode == "infer":
        sample = {"inputs": found.model.inference_inputs(sample["inputs"])}
    return TargetJob(
        backend=backend,
        target=target,
        model=found.model,
        defaults=choice.defaults,
        workload=found.workload,
        plan=plan,
        samples=len(found.split.train),
        sample=sample,
        augment=found.augment,
    )


def _resolved(plan: Plan, target: Target, mode: str) -> Plan:
    devices = target.devices
    plan = plan.resolve(target.device)
    if plan.spread().get("dp", 1) not in (1, devices):
        raise PlanError(
            f"parallel={plan.parallel} does not fit target={target.device.kind}, which has {devices} devices",
            fix=f"use parallel=dp={devices} for all of them, or parallel=none for one of them"
            if devices > 1
            else "leave parallel= out",
        )
    if plan.batch > _MOST:
        raise ConfigError(
            f"batch={plan.batch} is larger than {_MOST}, the largest that compilers accept", fix="use a smaller batch="
        )
    if mode == "infer" and plan.accumulate != 1:
        raise ConfigError(
            "accumulate= splits an optimizer step, but inference has no optimizer steps", fix="leave accumulate= out"
        )
    return plan


def _target(name: str) -> tuple[BuildsTargets, Target]:
    """The backend that builds for a target, and the target."""
    known: list[str] = []
    for each in registry.names():
        try:
            backend = registry.backend(each)
        except UnavailableError:
            continue  # `hal devices` says why
        if not isinstance(backend, BuildsTargets):
            continue
        target = backend.target(name)
        if target is not None:
            return backend, target
        known += backend.targets()
    word = name.partition(":")[0].lower()
    longer = [each for each in dict.fromkeys(known) if each.startswith(f"{word}-")]
    near = longer or difflib.get_close_matches(word, known, n=1)
    raise ConfigError(
        f"target={name} is not known" + (f"; did you mean {' or '.join(near)}?" if near else ""),
        fix=f"use one of: {', '.join(dict.fromkeys(known))}"
        if known
        else "install a backend that supports targets: none of the installed ones does",
    )
