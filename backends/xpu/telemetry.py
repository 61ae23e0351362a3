"""Counters of Intel GPUs from files of the kernel's drivers i915 and xe: hwmon for the card, sysfs for its clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hal.backends._torch.pci import DEVICES, read_link
from hal.contract import Telemetry

__all__ = ["read_counters"]

_CLOCKS = (
    ("drm/card*/gt_act_freq_mhz", "drm/card*/gt_RP0_freq_mhz"),
    ("tile0/gt0/freq0/act_freq", "tile0/gt0/freq0/max_freq"),
)
"""The clock now and the highest one, in MHz: as i915 names them, and as xe does."""


def read_counters(pci: str, devices: Path = DEVICES) -> Telemetry:
    """Counters of a card now; None for those that its driver does not show.

    Where a driver shows the energy of the card and that of the chip, it is the card's.

    Args:
        pci: the card's address, ``domain:bus:device.function``; empty where unknown.
        devices: folder of PCI devices in sysfs.
    """
    card = devices / pci
    if not pci or not card.is_dir():
        return Telemetry()
    sensors = sorted(card.glob("hwmon/hwmon*"))
    limit = _scaled(_first(sensors, "power1_max", "power2_max"), 1e-6)
    normal = _scaled(_first(sensors, "power1_rated_max", "power2_rated_max"), 1e-6)
    clock = [_scaled(_first([card], *(names[which] for names in _CLOCKS)), 1.0) for which in (0, 1)]
    link = read_link(pci, devices)
    return Telemetry(
        temperature_c=_hottest(sensors),
        clock_mhz=clock[0],
        clock_max_mhz=clock[1],
        energy_j=_scaled(_first(sensors, "energy1_input", "energy2_input"), 1e-6),
        power_limit_w=limit,
        power_limit_default_w=normal,
        link_generation=link.generation,
        link_width=link.width,
        link_max_generation=link.max_generation,
        link_max_width=link.max_width,
    )


def _hottest(sensors: Sequence[Path]) -> float | None:
    found = [value for sensor in sensors for each in sensor.glob("temp*_input") if (value := _number(each)) is not None]
    return max(found) / 1e3 if found else None


def _first(folders: Sequence[Path], *names: str) -> int | None:
    """The first file of these names that holds a number."""
    files = (path for name in names for folder in folders for path in sorted(folder.glob(name)))
    return next((value for path in files if (value := _number(path)) is not None), None)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _scaled(value: int | None, factor: float) -> float | None:
    return None if value is None else value * factor
