"""Finds OpenCL's platforms and devices through pyopencl, or says why there are none and what to do."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from hal.backends.opencl.decisions import Driver, describe, lacking
from hal.contract.device import Device

__all__ = ["Found", "find"]

_INSTALL = (
    "install the OpenCL driver of the device; docs/opencl.md lists them. For the processor, on Debian or Ubuntu: "
)
_INSTALL += "apt-get install pocl-opencl-icd"
_NO_PLATFORM = -1001
_ORDER = {"gpu": 0, "accelerator": 1, "cpu": 2}


@dataclass(frozen=True)
class Found:
    """What there is.

    Attributes:
        devices: hal's devices with pyopencl's and what their drivers report.
        detail: versions, for people.
        problem: why there is no device; empty where there is one.
        fix: what to do about it.
        lacks_pyopencl: whether that is because pyopencl cannot be loaded.
    """

    devices: tuple[tuple[Device, Any, Driver], ...] = ()
    detail: str = ""
    problem: str = ""
    fix: str = ""
    lacks_pyopencl: bool = False


@functools.cache
def find() -> Found:
    """All devices of all platforms that hal can use: GPUs first, then accelerators, then processors."""
    try:
        import pyopencl as cl
    except ModuleNotFoundError:
        fix = "run: pip install 'hal-tensor[opencl]'"
        return Found(problem="pyopencl is not installed", fix=fix, lacks_pyopencl=True)
    except ImportError as error:
        fix = "run: pip install --force-reinstall pyopencl"
        return Found(problem=f"pyopencl cannot be loaded: {error}", fix=fix, lacks_pyopencl=True)
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        reason = "no OpenCL driver is installed" if _code(error) == _NO_PLATFORM else f"OpenCL failed: {error}"
        return Found(problem=reason, fix=_INSTALL)
    if not platforms:
        return Found(problem="no OpenCL driver is installed", fix=_INSTALL)
    natives, refused = [], []
    for platform in platforms:
        for native in _devices(platform):
            driver = read_driver(native)
            problem = lacking(driver)
            if problem is None:
                natives.append((driver, native))
            else:
                refused.append((f"{driver.name.strip()} cannot be used: {problem[0]}", problem[1]))
    if not natives:
        if refused:
            return Found(problem=refused[0][0], fix=refused[0][1])
        names = ", ".join(platform.name.strip() for platform in platforms)
        return Found(problem=f"the OpenCL drivers that are installed ({names}) find no device", fix=_INSTALL)
    natives.sort(key=lambda pair: _ORDER[pair[0].kind])
    counts: dict[str, int] = {}
    described = []
    for driver, native in natives:
        index = counts.get(driver.kind, 0)
        counts[driver.kind] = index + 1
        described.append((describe(driver, index), native, driver))
    drivers = ", ".join(dict.fromkeys(f"{platform.name.strip()} {_short(platform.version)}" for platform in platforms))
    return Found(tuple(described), f"pyopencl {metadata.version('pyopencl')}: {drivers}")


def _short(version: str) -> str:
    """A platform's version without what it was built with, which PoCL lists behind two blanks."""
    return version.strip().partition("  ")[0]


def _code(error: Any) -> int:
    return int(getattr(error, "code", 0))


def _devices(platform: Any) -> list[Any]:
    import pyopencl as cl

    try:
        return list(platform.get_devices())
    except cl.Error:  # a platform without devices says so by an error
        return []


def read_driver(native: Any) -> Driver:
    """What a driver reports."""
    import pyopencl as cl

    types = cl.device_type
    kind = "gpu" if native.type & types.GPU else "cpu" if native.type & types.CPU else "accelerator"
    extensions = frozenset(native.extensions.split())
    board = ""
    if "cl_amd_device_attribute_query" in extensions:
        board = str(getattr(native, "board_name_amd", ""))
    return Driver(
        kind=kind,
        vendor=native.vendor,
        vendor_id=native.vendor_id,
        name=native.name,
        board=board,
        platform=native.platform.name.strip(),
        platform_version=native.platform.version.strip(),
        version=native.version.strip(),
        driver_version=native.driver_version.strip(),
        extensions=extensions,
        memory_bytes=native.global_mem_size,
        largest_bytes=native.max_mem_alloc_size,
        units=native.max_compute_units,
        local_bytes=native.local_mem_size,
        local_size=native.max_work_group_size,
        vector_floats=native.native_vector_width_float,
        compiler=bool(native.compiler_available),
        available=bool(native.available),
        little_endian=bool(native.endian_little),
    )
