"""What PyTorch's XPU runtime says of its version and its devices, as frozen facts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

from hal.util.messages import first_line

__all__ = ["Properties", "Runtime", "read_runtime"]


@dataclass(frozen=True)
class Properties:
    """One device as ``torch.xpu.get_device_properties`` describes it; older versions of PyTorch leave out some.

    Attributes:
        name: product name.
        device_id: PCI device.
        driver_version: of the Level Zero driver.
        total_memory: bytes of the device's memory.
        gpu_subslice_count: Xe cores.
        architecture: number that SYCL has for the chip; 0 where unknown.
        has_fp16: whether it computes in fp16.
        has_fp64: whether it computes in 64-bit floating point.
        has_bfloat16_conversions: whether it has instructions for bf16.
        has_subgroup_matrix_multiply_accumulate: whether it has XMX units.
        is_integrated_gpu: whether it shares the host's memory.
    """

    name: str
    device_id: int = 0
    driver_version: str = ""
    total_memory: int = 0
    gpu_subslice_count: int = 0
    architecture: int = 0
    has_fp16: bool = True
    has_fp64: bool = False
    has_bfloat16_conversions: bool = True
    has_subgroup_matrix_multiply_accumulate: bool = True
    is_integrated_gpu: bool = False


@dataclass(frozen=True)
class Runtime:
    """The XPU part of an installed PyTorch.

    Attributes:
        version: ``torch.version.xpu``; None in builds for other devices.
        devices: what it sees, in its order.
        failure: first line of what it said when it saw no device; empty if it said nothing.
    """

    version: str | None = None
    devices: tuple[Properties, ...] = ()
    failure: str = ""


def read_runtime(torch: ModuleType | Any) -> Runtime:
    """Describe a module that looks like PyTorch. Never raises."""
    version = getattr(torch.version, "xpu", None)
    if version is None:
        return Runtime()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not torch.xpu.is_available():
                torch.xpu.init()  # says why
            found = [torch.xpu.get_device_properties(index) for index in range(torch.xpu.device_count())]
    except Exception as error:  # noqa: BLE001 - drivers and runtimes raise many types; a probe must not
        return Runtime(version, failure=first_line(error))
    return Runtime(version, tuple(map(_properties, found)))


def _properties(found: Any) -> Properties:
    names = [each.name for each in fields(Properties)]
    return Properties(**{name: getattr(found, name) for name in names if hasattr(found, name)})
