"""Display controllers and accelerators on the PCI bus, by their maker: known to the kernel without any driver."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEVICES", "count_accelerators"]

DEVICES = Path("/sys/bus/pci/devices")
_DISPLAY, _PROCESSING_ACCELERATOR = "0x03", "0x12"


def count_accelerators(vendor_id: str, devices: Path = DEVICES) -> int:
    """Number of display controllers and processing accelerators (PCI classes 03 and 12) of a maker.

    Args:
        vendor_id: PCI vendor in hexadecimal, for example ``0x10de``.
        devices: folder with one entry for each PCI device.
    """
    return sum(
        _read(entry / "vendor") == vendor_id and _read(entry / "class").startswith((_DISPLAY, _PROCESSING_ACCELERATOR))
        for entry in _entries(devices)
    )


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
