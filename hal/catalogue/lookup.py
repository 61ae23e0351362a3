"""Reads the catalogue and finds devices in it."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any

from hal.catalogue.model import DECISIVE, CatalogueDevice, Figure, Rates, Serves, Source
from hal.errors import ConfigError

__all__ = ["achievable", "devices", "find", "match", "multiply_adds", "served_by", "sources", "unknown"]

_SLICES = "mig-guide"
_EXPECTED = ("year", *DECISIVE, "rates.fp32")
"""Figures that every device has in truth, so that their absence means that no source says them."""


@functools.cache
def devices() -> Mapping[str, CatalogueDevice]:
    """All devices by their names in the catalogue."""
    rows: dict[str, dict[str, Any]] = {}
    folder = resources.files("hal.catalogue").joinpath("devices")
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        for key, row in tomllib.loads(file.read_text("utf-8")).items():
            if key in rows:
                raise ValueError(f"{file.name}: {key} is in the catalogue twice")
            rows[key] = row
    whole = {key: CatalogueDevice(id=key, **row) for key, row in rows.items() if "part_of" not in row}
    return MappingProxyType({key: whole[key] if key in whole else _slice(key, row, whole) for key, row in rows.items()})


@functools.cache
def sources() -> Mapping[str, Source]:
    """Where the numbers come from, by the names that figures use."""
    return MappingProxyType({key: Source(**row) for key, row in _toml("sources.toml").items()})


def find(name: str) -> CatalogueDevice:
    """A device by its name in the catalogue, or by a product name.

    Raises:
        ConfigError: there is no such device.

    >>> find("NVIDIA H100 80GB HBM3").id
    'h100-sxm'
    """
    known = devices()
    plain = name.strip().lower()
    for device in known.values():
        if plain in (device.id, device.name.lower(), *(each.lower() for each in device.names)):
            return device
    near = [key for key in known if plain and key.startswith(plain)] or difflib.get_close_matches(plain, known, n=1)
    raise ConfigError(
        f"the catalogue has no device {name}" + (f"; did you mean {' or '.join(near[:4])}?" if near else ""),
        fix="hal choose --devices lists the devices that the catalogue has",
    )


def match(name: str, memory_bytes: int | None = None) -> CatalogueDevice | None:
    """The product behind the name that a driver reports; None if the catalogue does not have it.

    Args:
        name: as the driver says it.
        memory_bytes: decides between products of one name.
    """
    plain = name.strip().lower()
    found = [each for each in devices().values() if plain in (own.lower() for own in each.names)]
    if len(found) > 1 and memory_bytes is not None:
        found.sort(key=lambda each: abs((each.memory_bytes or 0) - memory_bytes))
    return found[0] if found else None


def served_by(device: CatalogueDevice) -> Serves:
    """What software runs on a device."""
    return next(row for row in _serves() if re.fullmatch(row.target, device.target))


def multiply_adds(device: CatalogueDevice) -> tuple[float, float] | None:
    """Multiply-adds of one matrix unit per clock in fp16, with fp32 and with fp16 accumulation; None where unknown."""
    for row in _toml("rates.toml")["rates"]:
        if re.fullmatch(row["target"], device.target) and re.fullmatch(row["name"], device.name):
            return row["fp32_accumulation"], row["fp16_accumulation"]
    return None


def achievable(device: CatalogueDevice) -> Mapping[str, Figure]:
    """What healthy devices of this kind reach: TFLOP/s of products by precision, and GB/s of a ``copy``."""
    return _achievable().get(device.id, {})


def unknown() -> dict[str, tuple[str, ...]]:
    """What no source says, and what only one independent source says: names of devices for each figure."""
    missing: dict[str, list[str]] = {}
    for device in devices().values():
        figures = dict(device.figures())
        for name in _EXPECTED:
            if figures[name] is None:
                missing.setdefault(name, []).append(device.id)
        sixteen = device.rates.bf16 or device.rates.fp16
        if sixteen is None:
            missing.setdefault("rates in 16 bits", []).append(device.id)
        for name, figure in [*((each, figures[each]) for each in DECISIVE), ("rates in 16 bits", sixteen)]:
            if figure is not None and len(independent(figure)) < 2:
                missing.setdefault(f"a second source of {name}", []).append(device.id)
    return {name: tuple(ids) for name, ids in missing.items()}


def independent(figure: Figure) -> frozenset[str]:
    """The sources of a figure, counting those that copy from one another once."""
    return frozenset(sources()[each].same_as or each for each in figure.sources)


@functools.cache
def _achievable() -> Mapping[str, Mapping[str, Figure]]:
    return {
        key: {name: Figure(**figure) for name, figure in row.items()} for key, row in _toml("achievable.toml").items()
    }


@functools.cache
def _serves() -> tuple[Serves, ...]:
    return tuple(Serves(**row) for row in _toml("software.toml")["serves"])


@functools.cache
def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("hal.catalogue").joinpath(name).read_text("utf-8"))


def _slice(key: str, row: Mapping[str, Any], whole: Mapping[str, CatalogueDevice]) -> CatalogueDevice:
    """A slice of a card: its share of the card's units and bandwidth."""
    card = whole[row["part_of"]]
    device = CatalogueDevice(
        id=key, vendor=card.vendor, generation=card.generation, target=card.target, form=card.form, **row
    )
    if device.units is None or card.units is None or device.memory_share is None:
        raise ValueError(f"{key}: a slice needs units and memory_share, and its card needs units")
    share = device.units.value / card.units.value
    rates = {
        name: figure.scaled(share, _SLICES)
        for name in Rates.model_fields
        if (figure := getattr(card.rates, name)) is not None
    }
    bandwidth = None if card.bandwidth_gbps is None else card.bandwidth_gbps.scaled(device.memory_share, _SLICES)
    return device.model_copy(
        update={"rates": Rates(**rates), "bandwidth_gbps": bandwidth, "year": card.year, "clock_mhz": card.clock_mhz}
    )
