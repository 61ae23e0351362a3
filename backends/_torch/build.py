"""The installed PyTorch as frozen facts, so that what a backend decides can be tested on recorded descriptions."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any

from hal.util.messages import first_line

__all__ = ["Build", "Properties", "read_build"]


@dataclass(frozen=True)
class Properties:
    """One device as ``torch.cuda.get_device_properties`` describes it.

    Attributes:
        name: product name.
        major: first number of what PyTorch calls the compute capability.
        minor: second number.
        total_memory: bytes that the process can address on the device.
        multi_processor_count: multiprocessors or compute units, as the runtime counts them.
        arch_name: ``gcnArchName`` with its feature flags; empty where the build has no such field.
        uuid: identifier without a prefix; empty where unknown.
        pci: address as ``domain:bus:device.function`` in hexadecimal digits; empty where unknown. PyTorch does not name
            the function. It is 0, but for further devices of one address in a HIP build: a card in partitions shows
            them as functions 0, 1, 2 and so on, in the order in which the runtime lists them.
        integrated: the device shares the host's memory.
    """

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    arch_name: str = ""
    uuid: str = ""
    pci: str = ""
    integrated: bool = False


@dataclass(frozen=True)
class Build:
    """An installed PyTorch and what its runtime sees.

    Attributes:
        torch_version: for example ``2.13.0+cpu``.
        cuda: ``torch.version.cuda``; None in other builds.
        hip: ``torch.version.hip``; None in other builds.
        archs: architectures that the build has kernels for, as ``torch.cuda.get_arch_list`` names them.
        devices: what the runtime sees, in its order.
        failure: first line of what the runtime said when it saw no device; empty if it said nothing.
        broken: why PyTorch cannot be imported although it is installed; empty if it can.
    """

    torch_version: str
    cuda: str | None = None
    hip: str | None = None
    archs: tuple[str, ...] = ()
    devices: tuple[Properties, ...] = ()
    failure: str = ""
    broken: str = ""

    @property
    def detail(self) -> str:
        """Name and version, for example ``torch 2.13.0+cpu``."""
        return f"torch {self.torch_version}"


def read_build() -> Build | None:
    """Describe the installed PyTorch; None if there is none. Never raises."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a damaged installation may raise anything; the description carries it
        return Build(version, broken=first_line(error))
    return describe_torch(torch)


def describe_torch(torch: ModuleType | Any) -> Build:
    """Describe a module that looks like PyTorch. Never raises: what its runtime reports is carried in ``failure``."""
    cuda, hip = torch.version.cuda, torch.version.hip
    version = str(torch.__version__)
    if cuda is None and hip is None:
        return Build(version)
    archs: tuple[str, ...] = ()
    devices: tuple[Properties, ...] = ()
    failure = ""
    # A runtime without a usable driver warns and answers "no device"; its own words come from init().
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            archs = tuple(torch.cuda.get_arch_list())
            if not torch.cuda.is_available():
                torch.cuda.init()
            devices = tuple(_properties(torch))
        except Exception as error:  # noqa: BLE001 - drivers and runtimes raise many types; a probe must not
            failure = first_line(error)
    return Build(version, cuda, hip, archs, devices, failure)


def _properties(torch: ModuleType | Any) -> Iterator[Properties]:
    listed: Counter[str] = Counter()
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        bus = getattr(found, "pci_bus_id", None)
        place = "" if bus is None else f"{found.pci_domain_id:04x}:{bus:02x}:{found.pci_device_id:02x}"
        pci = f"{place}.{listed[place] if torch.version.hip else 0:x}" if place else ""
        listed[place] += 1
        yield Properties(
            name=found.name,
            major=found.major,
            minor=found.minor,
            total_memory=found.total_memory,
            multi_processor_count=found.multi_processor_count,
            arch_name=getattr(found, "gcnArchName", ""),
            uuid=str(getattr(found, "uuid", "")),
            pci=pci,
            integrated=bool(getattr(found, "is_integrated", False)),
        )
