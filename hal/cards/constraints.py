"""Hard facts: which devices fulfil what a user asked for, and why the others do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hal import catalogue
from hal.cards.choose_config import ChooseConfig
from hal.cards.counted import Counted
from hal.cards.counting import Cost
from hal.cards.prices import Price
from hal.catalogue import CatalogueDevice
from hal.contract.device import PrecisionName
from hal.contract.text import bytes_text

__all__ = ["USABLE", "Costs", "Shortfall", "shortfalls", "usual_precision"]

USABLE = 0.92
"""Share of a device's memory that a program gets; the driver and the framework keep the rest."""

_LARGEST_BATCH = 2**20
_SMALL = ("edge", "laptop")


@dataclass(frozen=True)
class Shortfall:
    """Why a device is left out.

    Attributes:
        text: the reason.
        kind: what is missing; the first ones are the nearest to what was asked for.
        miss: by which factor a number is missed, as a logarithm.
    """

    text: str
    kind: Literal["number", "step", "form", "maker", "other"] = "other"
    miss: float = 0.0

    @property
    def distance(self) -> tuple[int, float]:
        """How far the device is from fulfilling what was asked; a wrong form is nearer than another maker."""
        return {"number": 0, "step": 0, "form": 1, "maker": 2, "other": 3}[self.kind], self.miss


class Costs:
    """Costs of one device's part of a step, by precision."""

    def __init__(self, found: Counted, batch: int) -> None:
        self._found, self.batch = found, batch

    def of(self, precision: PrecisionName, batch: int | None = None) -> Cost:
        """The cost in a precision, of this batch or another."""
        return self._found.of(precision, batch or self.batch)

    @property
    def most(self) -> int:
        """The batch at which the search for the largest one ends."""
        return max(_LARGEST_BATCH, self.batch)

    def largest(self, precision: PrecisionName, usable: float) -> int:
        """The largest batch up to ``most`` whose step fits, by a line through two counts; 0: not even one sample."""
        one, two = self.of(precision), self.of(precision, 2 * self.batch)
        each = max((two.peak_bytes - one.peak_bytes) / self.batch, 1.0)
        fixed = one.peak_bytes - each * self.batch
        return max(0, min(self.most, int((usable - fixed) / each)))


def shortfalls(
    device: CatalogueDevice, config: ChooseConfig, price: Price | None, costs: Costs
) -> tuple[Shortfall, ...]:
    """Why a device is left out, the first reason first; empty: it is not."""
    return (
        *_kind(device, config),
        *_numbers(device, config),
        *_price(price, config),
        *_build(device, config),
        *_step(device, config, costs),
    )


def _kind(device: CatalogueDevice, config: ChooseConfig) -> Iterator[Shortfall]:
    if device.part_of is not None:
        yield Shortfall("it is a slice of another card")
    if config.vendor is not None and device.vendor.lower() != config.vendor.lower():
        yield Shortfall(f"its maker is {device.vendor}", "maker")
    if config.form is not None and device.form != config.form:
        yield Shortfall(f"its form is {device.form}", "form")
    if config.use == "edge" and device.form not in _SMALL:
        yield Shortfall(f"its form is {device.form}, which is not for the edge", "form")
    if config.use == "training" and device.form == "edge":
        yield Shortfall("it is made for inference at the edge")


def _numbers(device: CatalogueDevice, config: ChooseConfig) -> Iterator[Shortfall]:
    if config.memory is not None:
        if device.memory_gb is None:
            yield Shortfall(f"no source says its memory, and memory={config.memory:g} was asked for")
        elif device.memory_gb.value < config.memory:
            has = device.memory_gb.value
            yield Shortfall(f"it has {has:g} GB of memory", "number", math.log(config.memory / has))
    if config.watts is not None:
        if device.watts is None:
            yield Shortfall(f"no source says its watts, and watts={config.watts:g} was asked for")
        elif device.watts.value > config.watts:
            has = device.watts.value
            yield Shortfall(f"it has {has:g} W", "number", math.log(has / config.watts))


def _price(price: Price | None, config: ChooseConfig) -> Iterator[Shortfall]:
    if config.price is None:
        return
    if price is None or price.price is None:
        yield Shortfall("the list of prices does not have it")
    elif price.price > config.price:
        yield Shortfall(f"it costs {price.price:g}", "number", math.log(price.price / config.price))


def _build(device: CatalogueDevice, config: ChooseConfig) -> Iterator[Shortfall]:
    serves = catalogue.served_by(device)
    if not serves.backends:
        yield Shortfall(serves.builds)
    if config.precision in ("bf16", "fp16") and getattr(device.rates, config.precision) is None:
        yield Shortfall(f"no source says that it has units for {config.precision}")


def _step(device: CatalogueDevice, config: ChooseConfig, costs: Costs) -> Iterator[Shortfall]:
    if device.memory_gb is None or device.memory_bytes is None:
        return
    precision = config.precision or usual_precision(device)
    usable = USABLE * device.memory_bytes
    if costs.largest(precision, usable) < costs.batch:
        need = costs.of(precision).peak_bytes
        yield Shortfall(
            f"a step needs {bytes_text(int(need))} in {precision} and it has {device.memory_gb.value:g} GB",
            "step",
            math.log(need / usable),
        )


def usual_precision(device: CatalogueDevice) -> PrecisionName:
    """16 bits where they are faster: bf16, which needs no loss scale, else fp16."""
    plain = device.rates.fp32
    for name, figure in (("bf16", device.rates.bf16), ("fp16", device.rates.fp16)):
        if figure is not None and (plain is None or figure.value > plain.value):
            return name  # type: ignore[return-value]
    return "fp32"
