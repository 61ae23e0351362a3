"""What the OpenCL backend says of devices, as pure functions of what drivers report and of ``devices.toml``."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from hal.backends.opencl.codegen.choices import SEARCHED, offered
from hal.backends.opencl.codegen.kernel import Facts
from hal.contract.device import Capabilities, Device, Precision, PrecisionName

__all__ = ["Driver", "capabilities", "describe", "facts_of", "keeps_programs", "lacking"]

_KINDS = ("gpu", "accelerator", "cpu")
_OLDEST = (1, 2)
_NARROW, _WIDE = 8, 16


@dataclass(frozen=True)
class Driver:
    """What a driver reports of a device.

    Attributes:
        kind: gpu, accelerator or cpu.
        vendor: in the driver's words.
        vendor_id: number of the vendor.
        name: in the driver's words.
        board: product name, where an extension gives one.
        platform: name of the platform.
        platform_version: its version.
        version: of OpenCL, as the device says it.
        driver_version: of the driver.
        extensions: of the device.
        memory_bytes: global memory.
        largest_bytes: of one array.
        units: compute units.
        local_bytes: local memory of a work-group.
        local_size: the largest work-group.
        vector_floats: floats of a vector register.
        compiler: whether the driver compiles from source.
        available: whether the device can be used now.
        little_endian: whether the lowest byte comes first.
    """

    kind: str
    vendor: str
    vendor_id: int
    name: str
    board: str
    platform: str
    platform_version: str
    version: str
    driver_version: str
    extensions: frozenset[str]
    memory_bytes: int
    largest_bytes: int
    units: int
    local_bytes: int
    local_size: int
    vector_floats: int
    compiler: bool
    available: bool
    little_endian: bool


@functools.cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads(resources.files("hal.backends.opencl").joinpath("devices.toml").read_text(encoding="utf-8"))


def lacking(driver: Driver) -> tuple[str, str] | None:
    """Why a device cannot be used, and what to do; None: it can."""
    for entry in _data()["refused"]:
        if entry["platform"] in driver.platform.lower() and entry.get("device", "") in driver.name.lower():
            return str(entry["reason"]), str(entry["fix"])
    found = re.search(r"(\d+)\.(\d+)", driver.version)
    update = f"update the driver of {driver.name}"
    if not driver.available:
        return (
            "its driver says that it is not available",
            "check that no other program holds it, and restart its driver",
        )
    if not driver.compiler:
        return "its driver has no compiler for OpenCL C", update
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        return f"it has {driver.version}, and hal needs OpenCL 1.2 or later", update
    if not driver.little_endian:
        return "it stores the highest byte of a number first, which hal does not support", "use another device"
    return None


def describe(driver: Driver, index: int) -> Device:
    """A device.

    Args:
        driver: what is known of it.
        index: position among the devices of its kind.
    """
    vendor = _data()["vendors"].get(f"{driver.vendor_id:#06x}", driver.vendor.strip() or "unknown")
    return Device(
        backend="opencl",
        kind=driver.kind,
        index=index,
        vendor=vendor,
        arch=_architecture(driver),
        name=(driver.board or driver.name).strip() or "unknown",
        compute_units=driver.units or None,
        memory_bytes=driver.memory_bytes or None,
        facts={
            "platform": f"{driver.platform} {driver.platform_version}".strip(),
            "driver": driver.driver_version,
            "opencl": driver.version,
            "largest array (bytes)": str(driver.largest_bytes),
        },
        capabilities=capabilities(facts_of(driver), driver.extensions, here=True),
    )


def facts_of(driver: Driver) -> Facts:
    """What generated code depends on."""
    vector = _WIDE if driver.vector_floats >= _WIDE else _NARROW
    return Facts(driver.kind == "cpu", driver.units, driver.local_size, driver.local_bytes, vector)


def keeps_programs(driver: Driver) -> bool:
    """Whether the driver keeps programs on disk in a better form than that which it gives out."""
    return any(platform in driver.platform.lower() for platform in _data()["caches"]["platforms"])


def capabilities(facts: Facts, extensions: frozenset[str], *, here: bool) -> Capabilities:
    """What a device can do.

    Args:
        facts: what generated code depends on.
        extensions: of its driver.
        here: whether it is here, so that kernels can be timed.
    """
    offers = offered(facts)
    return Capabilities(
        precisions=_precisions(extensions),
        compile=("default", "eager", "max") if here else ("default", "eager"),
        algorithms={"conv": ("direct",), "pool": ("window",), **offers},
        # max tries these values for each product by itself.
        needs={f"{key}={value}": {"compile": ("default", "eager")} for key in SEARCHED for value in offers[key][1:]},
    )


def _architecture(driver: Driver) -> str:
    names = f"{driver.name} {driver.board}".lower()
    if found := re.search(r"gfx[0-9a-f]{3,4}", names):
        return found[0]
    for entry in _data()["architectures"]:
        if any(
            re.search(re.escape(word) + (r"(?!\d)" if word[-1].isdigit() else ""), names) for word in entry["words"]
        ):
            return str(entry["arch"])
    if driver.kind == "cpu":
        # PoCL puts what it compiles for in front of the product: pthread-haswell-AMD EPYC.
        parts = driver.name.split("-")
        return parts[1] if parts[0] in ("pthread", "cpu", "basic") and len(parts) > 1 else "cpu"
    return "unknown"


def _precisions(extensions: frozenset[str]) -> dict[PrecisionName, Precision]:
    stored = "stored in 16 bits and computed in fp32"
    if "cl_khr_fp16" in extensions:
        stored += ", although the device could compute in fp16"
    return {
        "fp32": Precision(True, accelerated=True),
        "tf32": Precision(False, note="OpenCL has no such type"),
        "bf16": Precision(False, note="OpenCL has no such type"),
        "fp16": Precision(True, note=stored),
    }
