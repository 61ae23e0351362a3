"""Predicts how long a step takes on a device that is not here: a roofline for each op, and a term for its launch.

    t = sum over ops of  max(flops / (e * peak), bytes / (b * bandwidth)) + l

The shares ``e`` and ``b`` of each kind of op and the launch ``l`` are fitted to public measurements (docs/choose.md
says which, and how well it does on generations that it has not seen); they are numbers of a fit and no efficiencies,
and some exceed 1. Intervals are as wide as predictions for generations that were left out of the fit were wrong.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hal.cards.counting import KINDS, Cost
from hal.catalogue import CatalogueDevice

__all__ = [
    "COVERAGE",
    "Fit",
    "Prediction",
    "class_text",
    "device_rate",
    "fits",
    "fitted_for",
    "predict",
    "step_seconds",
]

COVERAGE = 0.8
"""How often an interval is meant to hold."""

_MODES = {"train": "training", "infer": "inference"}
_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
Floats = NDArray[np.float64]


class Fit(BaseModel):
    """The parameters of one class of workloads."""

    model_config = _STRICT

    compute: Mapping[str, float] = Field(description="Share of the peak that each kind of op reaches.")
    memory: Mapping[str, float] = Field(description="Share of the bandwidth that each kind of op reaches.")
    launch_s: float = Field(gt=0, description="Seconds that each op costs besides.")
    spread: float = Field(gt=0, description="Factor within which predictions of generations left out hold in 80%.")
    spread_seen: float = Field(gt=0, description="The same for the devices of the fit.")
    devices: tuple[str, ...] = Field(description="Devices with measurements.")
    generations: tuple[str, ...] = Field(description="Generations with measurements.")
    vendors: tuple[str, ...]
    rows: int = Field(ge=1, description="Measurements.")

    def vector(self) -> Floats:
        """The parameters in one array, as :func:`step_seconds` takes them."""
        return np.array(
            [*(self.compute[kind] for kind in KINDS), *(self.memory[kind] for kind in KINDS), self.launch_s]
        )


class Prediction(BaseModel):
    """What a step of a workload is predicted to do on a device."""

    model_config = _STRICT

    samples_per_s: float
    low: float = Field(description="Lower end of the interval that is meant to hold in 80%.")
    high: float
    step_ms: float
    extrapolated: bool = Field(description="No device of this generation was measured.")
    bound: str = Field(description="What decides: compute, memory or launches.")
    anchored: bool = Field(default=False, description="Corrected by a measurement of the user's own.")

    def overlaps(self, other: Prediction) -> bool:
        """Whether the intervals have a point in common, so that no difference is shown."""
        return self.low <= other.high and other.low <= self.high


@functools.cache
def fits() -> Mapping[str, Fit]:
    """The fitted parameters by class: family, precision and mode, such as ``convolutions amp infer``."""
    text = resources.files("hal.cards").joinpath("fitted.toml").read_text("utf-8")
    return {name: Fit(**row) for name, row in tomllib.loads(text).items()}


def fitted_for(cost: Cost, vendor: str | None = None) -> tuple[str, Fit]:
    """The class that a workload belongs to, by what it spends its operations on, and its parameters.

    Where no mixed precision was measured on a maker's devices, models that were cast as a whole stand for it.
    """
    flops = {total.kind: total.flops for total in cost.totals()}
    convolutions = flops.get("convolution", 0.0) + flops.get("grouped convolution", 0.0)
    family = "convolutions" if convolutions > flops.get("product", 0.0) else "transformers"
    precision = "fp32" if cost.precision in ("fp32", "tf32") else "amp"
    name = f"{family} {precision} {cost.mode}"
    instead = f"{family} fp16 {cost.mode}"
    if precision == "amp" and vendor is not None and vendor not in fits()[name].vendors and instead in fits():
        name = instead
    return name, fits()[name]


def class_text(name: str) -> str:
    """A class of workloads in words.

    >>> class_text("transformers amp train")
    'products (as in transformers) in 16 bits in training'
    """
    family, precision, mode = name.split()
    family = "products (as in transformers)" if family == "transformers" else family
    return f"{family} in {'32 bits' if precision == 'fp32' else '16 bits'} in {_MODES[mode]}"


def device_rate(device: CatalogueDevice, precision: str) -> float | None:
    """FLOP/s that ops in a precision are held against; a slow unit is not used where the one of fp32 is faster."""
    own, plain = device.rate(precision), device.rate("fp32")
    known = [rate for rate in (own, plain) if rate is not None]
    return max(known, default=None) if precision != "fp32" else plain


def step_seconds(
    parameters: Floats, kinds: NDArray[np.int64], flops: Floats, moved: Floats, rate: float, bandwidth: float
) -> tuple[Floats, Floats, float]:
    """Seconds of each op by its operations, by its bytes, and by its launch.

    Args:
        parameters: see :meth:`Fit.vector`.
        kinds: position of each op's kind in :data:`~hal.cards.counting.KINDS`, (ops,).
        flops: operations of each op, (ops,).
        moved: bytes of each op, (ops,).
        rate: peak FLOP/s.
        bandwidth: bytes/s.
    """
    count = len(KINDS)
    compute = flops / (parameters[:count][kinds] * rate)
    memory = moved / (parameters[count : 2 * count][kinds] * bandwidth)
    return compute, memory, float(parameters[-1])


def predict(cost: Cost, device: CatalogueDevice, factor: float = 1.0, spread: float | None = None) -> Prediction | str:
    """The throughput of a workload on a device, or why nothing can be said.

    Args:
        cost: what a step costs.
        device: where.
        factor: by which measured throughput exceeds predicted, where something was measured here.
        spread: factor of the interval in place of the fit's.
    """
    name, fit = fitted_for(cost, device.vendor)
    if device.vendor not in fit.vendors:
        elsewhere = any(device.vendor in each.vendors for each in fits().values())
        what = class_text(name) if elsewhere else "such a workload"
        return f"no public measurement of {what} on a device of {device.vendor} was ever seen"
    rate, bandwidth = device_rate(device, cost.precision), device.bandwidth
    if rate is None or bandwidth is None:
        missing = "rate" if rate is None else "memory bandwidth"
        return f"no source says its {missing}"
    kinds, flops, moved = _arrays(cost.ops)
    compute, memory, launch = step_seconds(fit.vector(), kinds, flops, moved, rate, bandwidth)
    seconds = float(np.maximum(compute, memory).sum() + launch * len(flops)) / factor
    extrapolated = device.generation not in fit.generations
    wide = spread or (fit.spread_seen if device.id in fit.devices else fit.spread)
    speed = cost.batch / seconds
    return Prediction(
        samples_per_s=speed,
        low=speed / wide,
        high=speed * wide,
        step_ms=1000 * seconds,
        extrapolated=extrapolated,
        bound=_bound(compute, memory, launch),
        anchored=factor != 1.0,
    )


def _arrays(ops: Sequence[tuple[Any, float, float]]) -> tuple[NDArray[np.int64], Floats, Floats]:
    positions = {kind: index for index, kind in enumerate(KINDS)}
    return (
        np.array([positions[kind] for kind, _, _ in ops], np.int64),
        np.array([flops for _, flops, _ in ops], np.float64),
        np.array([moved for _, _, moved in ops], np.float64),
    )


def _bound(compute: Floats, memory: Floats, launch: float) -> str:
    by_compute = float(compute[compute >= memory].sum())
    by_memory = float(memory[compute < memory].sum())
    shares = {"compute": by_compute, "memory": by_memory, "launches": launch * len(compute)}
    if not math.isfinite(sum(shares.values())):
        return "unknown"
    return max(shares, key=lambda name: shares[name])
