"""Display controllers and accelerators on the PCI bus and their links: known to the kernel without any driver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["DEVICES", "Link", "count_accelerators", "find_cards", "generation_of", "read_link"]

DEVICES = Path("/sys/bus/pci/devices")
_DISPLAY, _PROCESSING_ACCELERATOR = "0x03", "0x12"
_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
"""Generations of PCIe by the GT/s of a lane."""


class Link(NamedTuple):
    """A PCIe link as it runs now and as the device could run it; None where the kernel does not say."""

    generation: int | None = None
    width: int | None = None
    max_generation: int | None = None
    max_width: int | None = None


def count_accelerators(vendor_id: str, devices: Path = DEVICES) -> int:
    """Number of display controllers and processing accelerators (PCI classes 03 and 12) of a maker.

    Args:
        vendor_id: PCI vendor in hexadecimal, for example ``0x10de``.
        devices: folder with one entry for each PCI device.
    """
    return len(_accelerators(vendor_id, devices))


def find_cards(vendor_id: str, device_id: str, devices: Path = DEVICES) -> tuple[str, ...]:
    """Addresses of the accelerators of one product, in their order on the bus.

    Args:
        vendor_id: PCI vendor in hexadecimal, for example ``0x8086``.
        device_id: PCI device in hexadecimal.
        devices: folder with one entry for each PCI device.
    """
    found = _accelerators(vendor_id, devices)
    return tuple(entry.name for entry in found if _read(entry / "device") == device_id)


def read_link(address: str, devices: Path = DEVICES) -> Link:
    """The link of a device.

    Args:
        address: ``domain:bus:device.function`` in hexadecimal digits.
        devices: folder with one entry for each PCI device.
    """
    entry = devices / address.lower()
    if not address or not entry.is_dir():
        return Link()
    speeds = [re.match(r"[\d.]+", _read(entry / f"{each}_link_speed")) for each in ("current", "max")]
    now, most = (None if speed is None else generation_of(float(speed[0])) for speed in speeds)
    widths = [_read(entry / f"{each}_link_width") for each in ("current", "max")]
    width, widest = (int(text) if text.isdigit() and text != "0" else None for text in widths)
    return Link(now, width, most, widest)


def generation_of(gigatransfers: float) -> int | None:
    """The generation of PCIe whose lanes have this speed in GT/s; None if there is none.

    >>> generation_of(16.0)
    4
    """
    return _GENERATIONS.get(gigatransfers)


def _accelerators(vendor_id: str, devices: Path) -> list[Path]:
    return [
        entry
        for entry in _entries(devices)
        if _read(entry / "vendor") == vendor_id
        and _read(entry / "class").startswith((_DISPLAY, _PROCESSING_ACCELERATOR))
    ]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
