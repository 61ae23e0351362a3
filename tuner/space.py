"""The plans that can be tried: what the device offers and the workload allows, within what the user fixed or listed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TypeAlias

from hal.config import PlanKeys
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.errors import ConfigError, RequestError
from hal.tuner.config import SpaceSection
from hal.tuner.distance import Distance, rank_of
from hal.tuner.messages import Description

__all__ = ["Space", "Value", "costlier", "key_of", "memory_settings", "signature_of"]

Value: TypeAlias = str | int | None

_SMALLER, _LARGER = 4, 16
"""Batches from a quarter of the default to sixteen times as much."""

_LARGEST_INFERENCE_BATCH = 1024

_WIDTH = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}


class Space:
    """All plans that may be tried, each once, in the canonical form that :meth:`Plan.resolve` gives.

    Attributes:
        dimensions: values of each plan key, the default's first.
        plans: every possible combination by its key.
        default: the plan without tuning.
        baseline: fp32 eager; it need not be in the space.
    """

    def __init__(
        self, described: Description, fixed: PlanKeys, listed: SpaceSection, objectives: Iterable[str]
    ) -> None:
        self._device = described.device
        self.default = described.default
        self.baseline = _eager(self.default, self._device)
        self.dimensions = self._dimensions(described, fixed, listed, set(objectives))
        self.plans: dict[str, Plan] = {}
        refused: RequestError | None = None
        own_threads = "threads" not in {**fixed.given(), **listed.given()}
        for values in itertools.product(*self.dimensions.values()):
            keys = dict(zip(self.dimensions, values, strict=True))
            try:
                plan = Plan.model_validate({**self.default.model_dump(), **keys}).resolve(self._device)
            except RequestError as error:
                refused = refused or error
                continue  # what the device cannot do is no part of the space
            # Processes share the cores evenly unless the user says otherwise.
            if plan.parallel != "none" and plan.threads is not None and own_threads:
                continue
            if plan.batch <= self._most_samples(described):
                self.plans.setdefault(key_of(plan), plan)
        if not self.plans:
            raise ConfigError(
                f"no plan is possible on {self._device} with these keys" + (f": {refused.message}" if refused else ""),
                fix="fix fewer plan keys, or list more values; a batch must not be larger than the number of samples",
            )
        if key_of(self.default) not in self.plans and not _excludes(listed, self.default):
            self.plans[key_of(self.default)] = self.default

    def _dimensions(
        self, described: Description, fixed: PlanKeys, listed: SpaceSection, objectives: set[str]
    ) -> dict[str, tuple[Value, ...]]:
        own = self._derived(described, objectives)
        found: dict[str, tuple[Value, ...]] = {}
        for name in Plan.model_fields:
            chosen = listed.given().get(name)
            if name in fixed.given():
                if chosen is not None:
                    raise ConfigError(
                        f"{name}= fixes the value for which space.{name}= lists several, so they contradict each other",
                        fix="leave one of them out",
                    )
                chosen = (getattr(self.default, name),)
            if chosen is None:
                chosen = own[name]
            first: Value = getattr(self.default, name)
            ordered = [first] if first in chosen else []
            found[name] = tuple(dict.fromkeys([*ordered, *chosen]))
        return found

    def _derived(self, described: Description, objectives: set[str]) -> dict[str, tuple[Value, ...]]:
        """Values of each key where the user says nothing."""
        can = self._device.capabilities
        units = self._device.compute_units or 1
        spare = "memory" in objectives
        # Energy is counted of one card of several; in a memory that processes share, each more of them needs more.
        alone = "energy" in objectives or (spare and can.threads)
        return {
            "batch": self._batches(described, objectives),
            "precision": tuple(
                name for name in can.supported_precisions() if name == "fp32" or can.precisions[name].accelerated
            ),
            "layout": can.layouts if described.images else can.layouts[:1],
            "compile": can.compile,
            **{
                key: self._algorithms(key, own_ops=described.own_ops)
                if Plan.traits(key).searched and Plan.traits(key).images in (None, described.images)
                else (getattr(self.default, key),)
                for key in Plan.algorithms()
            },
            # The framework's own choice is one thread for each core.
            "threads": (None, *sorted({1, units // 2} - {0, units})) if can.threads else (None,),
            # Splitting parameters saves memory and costs time.
            "parallel": (
                "none",
                *(
                    f"{kind}={n}"
                    for kind in (() if alone else can.parallel)
                    if spare or kind != "fsdp"
                    for n in _counts(described, can.spread)
                ),
            ),
            # Splitting a batch saves memory and costs time.
            "accumulate": (1, 2, 4) if spare and described.workload.mode == "train" else (1,),
        }

    def _algorithms(self, key: str, *, own_ops: bool) -> tuple[str, ...]:
        offered = self._device.capabilities.algorithms.get(key, ("auto",))
        vendor = Plan.traits(key).vendor
        if own_ops or vendor is None:
            return offered
        return tuple(value for value in offered if value in vendor) or (getattr(self.default, key),)

    @staticmethod
    def _most_samples(described: Description) -> float:
        """The largest batch that there are data for; inference that is only built needs none."""
        only_built = described.target is not None and described.workload.mode == "infer"
        return math.inf if only_built else described.samples

    def _batches(self, described: Description, objectives: set[str]) -> tuple[int, ...]:
        default = self.default.batch
        if described.workload.mode == "infer":
            if objectives == {"latency"}:
                return (default,)
            most = min(self._most_samples(described), max(default, _LARGEST_INFERENCE_BATCH))
            return tuple(2**i for i in range(int(most).bit_length()))
        found, n = [default], default
        while n % 2 == 0 and n // 2 * _SMALLER >= default:
            n //= 2
            found.append(n)
        n = default
        while n * 2 <= min(described.samples, default * _LARGER):
            n *= 2
            found.append(n)
        return tuple(found)

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def varied(self) -> dict[str, tuple[Value, ...]]:
        """The keys that differ between plans of the space, with the values that plans have, in one order for all.

        The order in which the values were listed, and values that no plan can have, make no difference.
        """
        found = {name: {getattr(plan, name) for plan in self.plans.values()} for name in Plan.model_fields}
        return {
            name: tuple(sorted(values, key=lambda value: rank_of(name, value)))
            for name, values in found.items()
            if len(values) > 1
        }

    def distance(self) -> Distance:
        """The distance between plans of the space."""
        return Distance(tuple(self.varied), self._device.compute_units or 1)


def _counts(described: Description, spread: int) -> tuple[int, ...]:
    """How many devices a plan may spread over: powers of two; all devices of a target."""
    if described.target is not None:
        return (described.devices,) if described.devices > 1 else ()
    return tuple(n for n in (2**i for i in range(1, 12)) if n <= max(described.devices, spread))


def _eager(plan: Plan, device: Device) -> Plan:
    """Fp32 without compilation, otherwise the same."""
    eager = "eager" if "eager" in device.capabilities.compile else device.capabilities.compile[0]
    return plan.model_copy(update={"precision": "fp32", "compile": eager}).resolve(device)


def _excludes(listed: SpaceSection, plan: Plan) -> bool:
    """Whether the user listed values that this plan does not have."""
    return any(getattr(plan, name) not in values for name, values in listed.given().items())


def key_of(plan: Plan) -> str:
    """The canonical name of a resolved plan: equal for equal plans, and for no others."""
    return " ".join(f"{name}={value}" for name, value in plan.model_dump().items())


def signature_of(plan: Plan) -> str:
    """What a compiled program depends on: plans of one signature run the same code."""
    return " ".join(f"{name}={value}" for name, value in plan.model_dump().items() if name != "threads")


def costlier(plan: Plan, failed: Plan) -> bool:
    """Whether a plan certainly needs as much memory as one that ran out of it.

    The same settings on the same devices, with a batch as large in as many parts or fewer and numbers as wide. Of
    another spread nothing is sure: cards hold less each, and processes on one memory need more of it together.
    """
    return (
        memory_settings(plan) == memory_settings(failed)
        and plan.batch / plan.accumulate >= failed.batch / failed.accumulate
        and plan.batch >= failed.batch
        and _WIDTH[plan.precision] >= _WIDTH[failed.precision]
    )


def memory_settings(plan: Plan) -> tuple[Value, ...]:
    """The values of a plan that make no order of memory: only plans that are equal in them can be compared."""
    return tuple(getattr(plan, name) for name in Plan.model_fields if name not in ("batch", "accumulate", "precision"))
