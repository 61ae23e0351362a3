"""From keys to a job: a model on its data, on a device, under a plan.

Whatever is wrong with a request is found here, before anything is written or started.
"""

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
from hal.data import Split
from hal.errors import ConfigError, UnavailableError, UnsupportedError
from hal.job.stored_plans import Fingerprint, find, nearest
from hal.job.workload import choose_model, resolve_workload
from hal.nn import Defaults, Model
from hal.util.paths import user_path
from hal.workload import Workload

__all__ = ["Job", "pick_device", "prepare", "prepare_devices", "require_training", "with_plan"]


@dataclass(frozen=True)
class Job:
    """A model on its data, on a device, under a plan that the device can follow.

    Attributes:
        backend: the backend of the device.
        device: where the model runs; one of several where the plan spreads.
        model: built for the shapes of the data.
        params: the model's parameters before they have values: nested dicts of :class:`~hal.nn.Param`.
        state: the model's state before it has values: nested dicts of :class:`~hal.nn.Param`.
        split: the data, in the form that the model takes.
        plan: how it runs, with the device's defaults filled in.
        defaults: how the model is trained unless the user says otherwise.
        workload: what a record says of model, data and mode.
        group: the devices that the plan spreads over. Where the plan needs several processes, they meet in
            :func:`hal.processes.launch.launch`; until then the group is this device alone.
        connected: whether the processes of the plan have met.
        augment: changes to training images.
        origin: a sentence about the tuning that found the plan; empty where the plan was given.
        explain: called with an exception; gives what became of another process where that is why it was raised.
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
    connected: bool = False
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
        raise ConfigError(
            f"device={device} belongs to backend={found.backend}, but backend={backend} was asked for",
            fix=f"leave backend= out, or write backend={found.backend}",
        )
    return found


def prepare_devices(backend: str, devices: int) -> None:
    """Tell a backend that is named how many devices will be used, before it is asked which there are."""
    if backend in registry.names():
        named = registry.backend(backend)
        if isinstance(named, SpreadsOver):
            named.prepare_devices(devices)


def require_training(device: Device) -> None:
    """Refuse to train where the backend only infers.

    Raises:
        UnsupportedError: the backend of this device cannot differentiate.
    """
    if not device.capabilities.trains:
        raise UnsupportedError(
            f"{device} can run trained models but not train them, because backend {device.backend} cannot compute "
            "gradients",
            fix="train on another backend (see: hal devices), and use this one with hal.predict and hal bench "
            "mode=infer",
        )


def prepare(config: JobConfig, mode: str = "train") -> Job:
    """Resolve a config into a job.

    Args:
        config: what is asked for.
        mode: train, or infer to compute outputs alone.

    Raises:
        RequestError: the request is wrong; nothing was written.
        UnavailableError: the backend, the device or a tuned plan is not here; nothing was written.
    """
    choice = choose_model(config.model)
    # The plan that is asked for, as far as it is known before there is a device.
    asked = build(Plan, {"parallel": config.given().get("parallel", "none")})
    if config.plan != "tuned":
        asked = config.base_plan(choice.defaults.batch)
    prepare_devices(config.backend, math.prod(asked.spread().values()))
    device = pick_device(config.backend, config.device)
    backend = registry.require(device.backend)
    if not device.capabilities.values:
        raise UnsupportedError(
            f"{device} computes only shapes and costs; it cannot train a model or be measured",
            fix="use another backend (see: hal devices)",
        )
    if mode == "train":
        require_training(device)
    if config.plan != "tuned":  # a wrong key is found before a large data set is read
        asked.resolve(device)
    found = resolve_workload(choice, config.data, mode, config.seed)
    if config.weights is not None:
        found.model.load_weights(user_path(config.weights))
    found.model.check_backend(backend, training=mode == "train")
    origin = ""
    if config.plan == "tuned":
        base, origin = _tuned(Fingerprint.of(backend, device, found.workload, found.model), device)
        asked = config.base_plan(choice.defaults.batch, base)
    plan = asked.resolve(device)
    job = Job(
        backend=backend,
        device=device,
        model=found.model,
        params=found.model.params(),
        state=found.model.state(),
        split=found.split,
        plan=plan,
        defaults=choice.defaults,
        workload=found.workload,
        group=Group(backend, device),
        augment=found.augment,
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
        raise ConfigError(
            "accumulate= splits an optimizer step, but inference has no optimizer steps", fix="leave accumulate= out"
        )
    if job.workload.mode == "train" and plan.batch > len(job.split.train):
        raise ConfigError(
            f"batch={plan.batch} is larger than the training set of {len(job.split.train)} samples",
            fix=f"use batch={len(job.split.train)} or less, or use more data",
        )
    job = replace(job, model=job.model.in_precision(plan.precision))
    if process_count(job.backend, plan) > 1 and not job.connected:
        return replace(job, plan=plan, group=Group(job.backend, job.device))
    group = group_of(job.backend, job.device, plan)
    if job.connected:
        group.rank = job.group.rank
    return replace(job, plan=plan, group=group)


def _tuned(fingerprint: Fingerprint, device: Device) -> tuple[Plan, str]:
    """The plan that a tuning stored for exactly this, and a sentence about it."""
    found = find(fingerprint)
    if found is not None:
        gain = (
            ""
            if found.over_default is None
            else f"; it is {found.over_default.median:.2f} times as fast as the default plan"
        )
        return found.plan, f"plan=tuned: hal tune found this plan on {found.when[:10]} for {found.objective}{gain}."
    again = f"hal tune model={fingerprint.model} backend={device.backend}"
    again += " mode=infer" if fingerprint.mode == "infer" else ""
    near = nearest(fingerprint)
    changed = ""
    if near:
        keys = ", ".join(near[0].fingerprint.differences(fingerprint))
        changed = (
            f"; the plan that was found on {near[0].when[:10]} was found with another {keys}, and a new "
            f"tuning will try it early"
        )
    raise UnavailableError(
        f"no tuned plan is stored for this device and workload{changed}", fix=f"run {again}, or use plan=default"
    )
