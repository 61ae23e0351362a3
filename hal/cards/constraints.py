"""Hard facts: which devices fulfil what a user asked for, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hal import catalogue
from hal.cards.choose_config import ChooseConfig
from hal.cards.counting import Cost, Subject, count
from hal.cards.prices import Price
from hal.catalogue import CatalogueDevice
from hal.contract.device import PrecisionName

__all__ = ["USABLE", "Costs", "severity", "usual_precision", "why_not"]

USABLE = 0.92
"""Share of a device's memory that a program gets; the driver and the framework keep the rest."""

_LARGEST_BATCH = 2**20
_SMALL = ("edge", "laptop")


class Costs:
    """Costs of one device's part of a step, by precision, counted when they are first asked for."""

    def __init__(self, found: Subject, batch: int) -> None:
        self._found, self.batch = found, batch
        self._costs: dict[tuple[str, int], Cost] = {}

    def of(self, precision: str, batch: int | None = None) -> Cost:
        """The cost in a precision, of this batch or another."""
        size = batch or self.batch
        if (precision, size) not in self._costs:
            name: PrecisionName = precision  # type: ignore[assignment]
            self._costs[precision, size] = count(self._found, size, name)
        return self._costs[precision, size]

    @property
    def most(self) -> int:
        """The batch at which the search for the largest one ends."""
        return max(_LARGEST_BATCH, self.batch)

    def largest(self, precision: str, usable: float) -> int:
        """The largest batch up to ``most`` whose step fits, by a line through two counts; 0: not even one sample."""
        one, two = self.of(precision), self.of(precision, 2 * self.batch)
        each = max((two.peak_bytes - one.peak_bytes) / self.batch, 1.0)
        fixed = one.peak_bytes - each * self.batch
        return max(0, min(self.most, int((usable - fixed) / each)))


def why_not(device: CatalogueDevice, config: ChooseConfig, price: Price | None, costs: Costs) -> str:
    """Why a device is left out; empty: it is not."""
    return next(_reasons(device, config, price, costs), "")


def _reasons(device: CatalogueDevice, config: ChooseConfig, price: Price | None, costs: Costs) -> Iterator[str]:
    yield from _kind(device, config)
    yield from _numbers(device, config)
    if config.price is not None:
        if price is None or price.price is None:
            yield "the list of prices does not have it"
        elif price.price > config.price:
            yield f"it costs {price.price:g}"
    serves = catalogue.served_by(device)
    if not serves.backends:
        yield serves.builds
    if config.precision in ("bf16", "fp16") and getattr(device.rates, config.precision) is None:
        yield f"no source says that it has units for {config.precision}"
    if device.memory_gb is not None and device.memory_bytes is not None:
        precision = config.precision or usual_precision(device)
        if costs.largest(precision, USABLE * device.memory_bytes) < costs.batch:
            need = costs.of(precision).peak_bytes / 2**30
            yield f"a step needs {need:.1f} GiB and it has {device.memory_gb.value:g} GB"


def _kind(device: CatalogueDevice, config: ChooseConfig) -> Iterator[str]:
    if device.part_of is not None:
        yield "it is a slice of another card"
    if config.vendor is not None and device.vendor.lower() != config.vendor.lower():
        yield f"its maker is {device.vendor}"
    if config.form is not None and device.form != config.form:
        yield f"its form is {device.form}"
    if config.use == "edge" and device.form not in _SMALL:
        yield f"its form is {device.form}, which is not for the edge"
    if config.use == "training" and device.form == "edge":
        yield "it is made for inference at the edge"


def _numbers(device: CatalogueDevice, config: ChooseConfig) -> Iterator[str]:
    if config.memory is not None:
        if device.memory_gb is None:
            yield f"no source says its memory, and memory={config.memory:g} was asked for"
        elif device.memory_gb.value < config.memory:
            yield f"it has {device.memory_gb.value:g} GB of memory"
    if config.watts is not None:
        if device.watts is None:
            yield f"no source says its watts, and watts={config.watts:g} was asked for"
        elif device.watts.value > config.watts:
            yield f"it has {device.watts.value:g} W"


def usual_precision(device: CatalogueDevice) -> PrecisionName:
    """16 bits where they are faster: bf16, which needs no loss scale, else fp16."""
    plain = device.rates.fp32
    for name, figure in (("bf16", device.rates.bf16), ("fp16", device.rates.fp16)):
        if figure is not None and (plain is None or figure.value > plain.value):
            return name  # type: ignore[return-value]
    return "fp32"


def severity(why: str) -> int:
    """How far a device is from fulfilling what was asked; a wrong form is nearer than another maker."""
    order: Mapping[str, int] = {"it costs": 0, "it has": 1, "a step needs": 1, "its form": 2, "its maker": 3}
    return next((rank for start, rank in order.items() if why.startswith(start)), 4)
