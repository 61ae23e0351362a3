"""Cards as targets: their names, what is known of them, and a runtime that computes nothing."""

from __future__ import annotations

import difflib
import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy as np

from hal import catalogue
from hal.backends.opencl.codegen.kernel import Facts
from hal.backends.opencl.decisions import capabilities
from hal.backends.opencl.storage import BaseRuntime, Storage, rounded_bytes
from hal.contract.device import Device
from hal.contract.program import Target
from hal.errors import ConfigError

__all__ = ["PREFIX", "Card", "TargetRuntime", "card_of", "data", "names", "target", "target_runtime"]

PREFIX = "opencl:"
"""What the names of all targets of this backend begin with."""


@dataclass(frozen=True)
class Card:
    """A product that programs can be compiled for.

    Attributes:
        name: of the target: ``opencl:gfx1030``, ``opencl:rx6800``.
        product: what its figures are of.
        vendor: ``amd`` is compiled to machine code, ``intel`` to SPIR-V.
        arch: as compilers name it.
        facts: what generated code depends on.
    """

    name: str
    product: catalogue.CatalogueDevice
    vendor: Literal["amd", "intel"]
    arch: str
    facts: Facts


@functools.cache
def data() -> dict[str, Any]:
    """The content of ``targets.toml``."""
    return tomllib.loads(resources.files("hal.backends.opencl.targets").joinpath("targets.toml").read_text("utf-8"))


def names() -> tuple[str, ...]:
    """Architectures, then products."""
    architectures = [arch for vendor in ("amd", "intel") for arch in data()[vendor]["architectures"]]
    return tuple(PREFIX + name for name in (*architectures, *(each.id for each in _products())))


@functools.cache
def card_of(name: str) -> Card:
    """The card of a target's name; an architecture stands for its product with the fewest units.

    Raises:
        ConfigError: there is none of that name.
    """
    word = name.strip().lower().removeprefix(PREFIX)
    fitting = [each for each in _products() if word in (each.id, each.target)]
    if not fitting:
        known = [each.removeprefix(PREFIX) for each in names()]
        near = difflib.get_close_matches(word, known, n=1)
        raise ConfigError(
            f"target={name} is not known" + (f"; did you mean {PREFIX}{near[0]}?" if near else ""),
            fix=f"use one of these targets: {', '.join(names())}",
        )
    product = min(fitting, key=lambda each: (_lanes(each), each.memory_bytes or 0))
    vendor: Literal["amd", "intel"] = "amd" if product.target in data()["amd"]["architectures"] else "intel"
    row = data()[vendor]
    units = _lanes(product) // row["lanes_of_a_unit"]
    return Card(PREFIX + word, product, vendor, product.target, Facts(False, units, row["local_size"]))


def target(name: str) -> Target | None:
    """The target of a name; None where the name is not this backend's.

    Raises:
        ConfigError: it is, but there is no such card.
    """
    if not name.strip().lower().startswith(PREFIX):
        return None
    card = card_of(name)
    memory = card.product.memory_bytes
    device = Device(
        backend="opencl",
        kind=card.name,
        index=0,
        vendor=card.product.vendor,
        arch=card.arch,
        name=card.product.name,
        compute_units=card.facts.units,
        memory_bytes=None if memory is None else int(memory),
        facts={},
        capabilities=capabilities(card.facts, extensions=frozenset(), here=False),
    )
    return Target(device, 1)


class TargetRuntime(BaseRuntime):
    """What graphs for a card are built on. Arrays have sizes and no values.

    Args:
        device: the card.
        facts: what generated code depends on.
    """

    def __init__(self, device: Device, facts: Facts) -> None:
        super().__init__(device, facts, wide_floats=False)

    def upload(self, host: np.ndarray) -> Storage:
        """As much memory as a copy would take."""
        return Storage(self, None, rounded_bytes(host.nbytes))

    def take_back(self, storage: Storage) -> None:
        """There is nothing to take back."""


@functools.cache
def target_runtime(device: Device) -> TargetRuntime:
    """The runtime of a target's device."""
    return TargetRuntime(device, card_of(device.kind).facts)


def _lanes(product: catalogue.CatalogueDevice) -> int:
    return 0 if product.lanes is None else int(product.lanes.value)


@functools.cache
def _products() -> tuple[catalogue.CatalogueDevice, ...]:
    """The catalogue's products of the architectures, as far as their sizes are known."""
    wanted = {*data()["amd"]["architectures"], *data()["intel"]["architectures"]}
    return tuple(each for each in catalogue.devices().values() if each.target in wanted and _lanes(each))
