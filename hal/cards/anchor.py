"""What a user measured, as an anchor of the predictions: by how much it differs from what was predicted for it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hal import catalogue
from hal.cards.certificate import Certificate
from hal.cards.counting import Cost, Subject
from hal.cards.predictor import Prediction, fitted_for, predict
from hal.catalogue import CatalogueDevice
from hal.contract.device import PrecisionName
from hal.errors import ConfigError, NotFoundError
from hal.util.reading import read_regular

if TYPE_CHECKING:
    from hal.contract.device import DeviceFacts
    from hal.contract.plan import Plan
    from hal.workload import Workload

__all__ = ["Anchor", "read_anchor"]

_LARGEST = 8 << 20
_SELF = 1.1
"""Factor of the interval on the device that was measured itself."""

_FIX = "give a file of hal bench out=FILE or the folder of a run of the same model, or a file of hal card --json"


@dataclass(frozen=True)
class Anchor:
    """By which factor what was measured exceeds what was predicted.

    Attributes:
        factor: throughput measured over predicted.
        device: on which device.
        width: factor of the interval on other devices.
        text: a sentence about it.
    """

    factor: float
    device: CatalogueDevice
    width: float
    text: str

    def spread(self, device: CatalogueDevice) -> float | None:
        """The factor of the interval on a device; None: that of the fit."""
        if device.id == self.device.id:
            return _SELF
        return self.width if device.vendor == self.device.vendor else None


def read_anchor(path: Path, found: Subject, cost: Callable[[PrecisionName, int | None], Cost]) -> Anchor:
    """Read what was measured.

    Args:
        path: the file; of a run, its folder or the record in it.
        found: the workload that is chosen for.
        cost: counts it in a precision, for a batch.

    Raises:
        NotFoundError: the file cannot be read.
        ConfigError: it holds something else, another model, several devices together, or a device that the
            catalogue does not have.
    """
    try:
        held = json.loads(read_regular(path / "record.json" if path.is_dir() else path, _LARGEST))
    except OSError as error:
        raise NotFoundError(f"measured={path} cannot be read: {error.strerror}", fix=_FIX) from error
    except ValueError as error:
        raise ConfigError(f"measured={path} is no JSON", fix=_FIX) from error
    try:
        if isinstance(held, dict) and ("measurement" in held or "epochs" in held):
            return _of_speed(path, _speed(path, held), found, cost)
        return _of_certificate(path, Certificate.model_validate(held), cost)
    except ValidationError as error:
        raise ConfigError(f"measured={path} holds no benchmark, record of a run, or certificate", fix=_FIX) from error


@dataclass(frozen=True)
class _Speed:
    """What a benchmark or a run reached."""

    workload: Workload
    plan: Plan
    device: DeviceFacts
    samples_per_s: float


def _speed(path: Path, held: Any) -> _Speed:
    from hal.run import Bench, Record  # which load more than a choice without an anchor needs

    if "measurement" in held:
        bench = Bench.model_validate(held)
        return _Speed(bench.workload, bench.plan, bench.device, bench.measurement.throughput.median)
    record = Record.model_validate(held)
    if not record.epochs:
        raise ConfigError(f"measured={path} is of a run without a whole epoch", fix=_FIX)
    speed = statistics.median(epoch.samples_per_s for epoch in record.epochs)
    return _Speed(record.workload, record.plan, record.device, speed)


def _of_speed(path: Path, seen: _Speed, found: Subject, cost: Callable[[PrecisionName, int | None], Cost]) -> Anchor:
    own = found.resolved.workload
    if seen.workload.model != own.model or seen.workload.mode != found.mode:
        raise ConfigError(
            f"measured={path} is of model={seen.workload.model} mode={seen.workload.mode}, not of model={own.model} "
            f"mode={found.mode}",
            fix=_FIX,
        )
    if seen.plan.parallel != "none":
        raise ConfigError(
            f"measured={path} is of several devices together, parallel={seen.plan.parallel}, and a prediction is of "
            "one",
            fix="measure one device, with parallel=none",
        )
    device = _device(path, seen.device)
    counted = cost(seen.plan.precision, seen.plan.batch)
    predicted = predict(counted, device)
    if not isinstance(predicted, Prediction):
        raise ConfigError(f"measured={path}: {device.name} cannot anchor anything: {predicted}", fix=_FIX)
    _, fit = fitted_for(counted, device.vendor)
    factor = seen.samples_per_s / predicted.samples_per_s
    return Anchor(
        factor, device, fit.spread_seen, f"{path.name}: {device.name} was measured at {factor:.2f} of its prediction."
    )


def _of_certificate(path: Path, found: Certificate, cost: Callable[[PrecisionName, int | None], Cost]) -> Anchor:
    device = _device(path, found.device)
    figures = {(figure.group, figure.name): figure for figure in found.figures}
    ratios = []
    for precision in ("bf16", "fp16", "fp32"):
        figure = figures.get(("product", precision))
        if figure is not None and figure.sheet:
            _, fit = fitted_for(cost(precision, None), device.vendor)
            ratios.append(figure.median / figure.sheet / fit.compute["product"])
            break
    copy = figures.get(("memory", "copy"))
    if copy is not None and copy.sheet:
        _, fit = fitted_for(cost("fp32", None), device.vendor)
        ratios.append(copy.median / copy.sheet / fit.memory["elementwise"])
    if not ratios:
        raise ConfigError(f"measured={path} has no figure beside one of the sheet", fix=_FIX)
    factor = math.exp(sum(map(math.log, ratios)) / len(ratios))
    _, fit = fitted_for(cost("fp32", None), device.vendor)
    return Anchor(factor, device, fit.spread, f"{path.name}: {device.name} reached {factor:.2f} of what was fitted.")


def _device(path: Path, device: DeviceFacts) -> CatalogueDevice:
    found = catalogue.match(device.name, device.memory_bytes)
    if found is None:
        raise ConfigError(
            f"measured={path} is of {device.name}, which the catalogue does not have",
            fix="measured= works for what ran on a device of the catalogue (hal choose --devices); else leave it out",
        )
    return found
