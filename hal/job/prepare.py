"""From keys to everything a run needs; whatever is wrong with a request is found here, before anything is touched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hal import registry
from hal.config import JobConfig, build
from hal.contract import Backend, Group, SpreadsOver
from hal.contract.device import Device
from hal.contract.group import group_of, process_count
from hal.contract.plan import Plan
from hal.data import Split, load
from hal.errors import ConfigError, UnavailableError, UnsupportedError
from hal.job.stored_plans import Fingerprint, find, nearest
from hal.nn import Defaults, Model
from hal.workload import Workload, configure, model_class

__all__ = ["Job", "pick_device", "prepare", "require_training", "with_plan"]


@dataclass(frozen=True)
class Job:
    """A model on its data, on a device, under a plan that the device can follow.

    Attributes:
        group: the devices that the plan spreads over. Where it wants several processes, they meet in
            :func:`hal.processes.launch.launch`; until then this is the device alone.
        joined: whether the processes of the plan have met.
        origin: who found the plan.
        explain: what became of another process, where that is why something failed here.
    """

    backend: Backend
    device: Device
    model: Model
    params: Mapping[str, Any]
    state: Mapping[str, Any]
    split: Split
    plan: Plan
    defaults: Defaults
    workload: Workload
    group: Group
    joined: bool = False
    augment: tuple[str, ...] = ()
    origin: str = ""
    explain: Callable[[BaseException], BaseException | None] = lambda error: None


def pick_device(backend: str, device: int | str | None) -> Device:
    """The device that the keys ``backend`` and ``device`` name together.

    Raises:
        ConfigError: they contradict each other, or no backend has that name.
        UnavailableError: the backend or the device is not here.
    """
    if device is None or isinstance(device, int):
        return registry.select(backend, device)
    if device.isdigit():
        return registry.select(backend, int(device))
    if device.partition(":")[0] not in registry.names():  # a kind of device of the backend that was named
        device = f"{backend}:{device}"
    found = registry.device(device)
    if backend not in ("auto", found.backend):
        raise ConfigError(f"device={device} is of backend {found.backend}, and backend={backend} was asked for")
    return found


def require_training(device: Device) -> None:
    """Refuse to train where the backend only infers.

    Raises:
        UnsupportedError: the backend of this device cannot differentiate.
    """
    if not device.capabilities.trains:
        raise UnsupportedError(
            f"{device} runs trained models and cannot train them: backend {device.backend} does not differentiate",
            fix="train on another backend (see: hal devices); use this one to run what others trained (hal.predict), "
            "and measure that with hal bench mode=infer",
        )


def prepare(config: JobConfig, mode: str = "train") -> Job:
    """Resolve a config into a job.

    Raises:
        HalError: whatever is wrong with the request; nothing was written.
    """
    if config.model is None:
        raise ConfigError("no model was named", fix="write for example: model=cnn")
    cls = model_class(config.model.name)
    keys = configure(cls, config.model.keys())
    defaults = cls.defaults_for(keys)
    # The plan that is asked for, as far as that is known before there is a device.
    asked = build(Plan, {"parallel": config.given().get("parallel", "none")})
    if config.plan != "tuned":
        asked = config.base_plan(defaults.batch)
    if config.backend in registry.names():
        named = registry.backend(config.backend)
        if isinstance(named, SpreadsOver):
            named.prepare_devices(math.prod(asked.spread().values()))
    device = pick_device(config.backend, config.device)
    backend = registry.require(device.backend)
    if not device.capabilities.values:
        raise UnsupportedError(
            f"{device} computes shapes and costs, no numbers: there is nothing to train or to measure on it",
            fix="choose another backend: hal devices",
        )
    if mode == "train":
        require_training(device)
    source = config.data.name or defaults.data
    if config.plan != "tuned":  # a wrong key is found before a large data set is read
        asked.resolve(device)
    split = load(source, cls.wanted(keys), validation=config.data.validation, seed=config.seed)
    if cls.supervised and split.train.labels is None:
        raise ConfigError(
            f"data={source} has no labels, and model={config.model.name} learns from them",
            fix="store the labels beside the inputs, or use a model without classes: model=gan",
        )
    if config.data.augment and cls.wanted(keys).kind != "image":
        raise ConfigError("data.augment changes images, and this model takes none", fix="leave data.augment out")
    model = cls(keys, split.train)
    workload = Workload.model_validate(
        {
            "model": config.model.name,
            "keys": keys.model_dump(mode="json"),
            "data": source,
            "mode": mode,
            "input_shape": tuple(split.train.inputs.shape),
        }
    )
    origin = ""
    if config.plan == "tuned":
        base, origin = _tuned(Fingerprint.of(backend, device, workload, model), device)
        asked = config.base_plan(defaults.batch, base)
    plan = asked.resolve(device)
    augment = defaults.augment if config.data.augment is None else tuple(config.data.augment)
    job = Job(
        backend=backend,
        device=device,
        model=model,
        params=model.params(),
        state=model.state(),
        split=split,
        plan=plan,
        defaults=defaults,
        workload=workload,
        group=Group(backend, device),
        augment=augment,
        origin=origin,
    )
    return with_plan(job, plan)


def with_plan(job: Job, plan: Plan) -> Job:
    """The same job under another plan.

    Raises:
        PlanError: the plan contradicts itself.
        UnsupportedError: the device cannot do what the plan asks.
        ConfigError: the workload cannot be run by this plan.
    """
    plan = plan.resolve(job.device)
    if job.workload.mode == "infer" and plan.accumulate != 1:
        raise ConfigError("accumulate= splits optimizer steps, and inference has none", fix="leave accumulate out")
    if job.workload.mode == "train" and plan.batch > len(job.split.train):
        raise ConfigError(
            f"batch={plan.batch} is larger than the training set of {len(job.split.train)} samples",
            fix=f"use batch={len(job.split.train)} or less, or more data",
        )
    if process_count(job.backend, plan) > 1 and not job.joined:
        return replace(job, plan=plan, group=Group(job.backend, job.device))
    group = group_of(job.backend, job.device, plan)
    if job.joined:
        group.rank = job.group.rank
    return replace(job, plan=plan, group=group)


def _tuned(fingerprint: Fingerprint, device: Device) -> tuple[Plan, str]:
    """The plan that a tuning stored for exactly this, and a sentence about it."""
    found = find(fingerprint)
    if found is not None:
        gain = "" if found.over_default is None else f", {found.over_default.median:.2f}x the default plan's speed"
        return found.plan, f"plan=tuned: found by hal tune on {found.when[:10]} for {found.objective}{gain}"
    again = f"hal tune model={fingerprint.model} backend={device.backend}"
    again += " mode=infer" if fingerprint.mode == "infer" else ""
    near = nearest(fingerprint)
    changed = ""
    if near:
        keys = ", ".join(near[0].fingerprint.differences(fingerprint))
        changed = f"; one of {near[0].when[:10]} is for another {keys}, which the tuner starts from"
    raise UnavailableError(
        f"no tuned plan is stored for this device and workload{changed}", fix=f"run: {again}, or use plan=default"
    )
