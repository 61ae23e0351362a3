"""The contract on Intel GPUs: PyTorch's device type ``xpu`` in an XPU build."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hal.backends._torch import TorchBackend
from hal.backends._torch.fallback import no_fallback, unsupported_operation
from hal.backends._torch.wide import refuse_wide
from hal.backends.xpu.decisions import availability, describe
from hal.backends.xpu.errors import lost_or_unsupported
from hal.backends.xpu.host import Host, pci_address, read_host
from hal.backends.xpu.runtime import Runtime, read_runtime
from hal.backends.xpu.telemetry import read_counters
from hal.contract import Available, Telemetry, Unavailable
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.errors import HalError

if TYPE_CHECKING:
    import torch

__all__ = ["XpuBackend"]


class XpuBackend(TorchBackend):
    """Intel GPUs through PyTorch."""

    name: ClassVar[str] = "xpu"
    priority: ClassVar[int] = 10
    aliases: ClassVar[tuple[str, ...]] = ("intel", "arc", "oneapi", "sycl", "gpu")
    device_type: ClassVar[str] = "xpu"
    convolutions: ClassVar[str] = "mkldnn"

    @functools.cached_property
    def _host(self) -> Host:
        return read_host()

    @functools.cached_property
    def _runtime(self) -> Runtime:
        if self._build is None or self._build.broken:
            return Runtime()
        import torch

        return read_runtime(torch)

    def probe(self) -> Available | Unavailable:
        """Whether Intel GPUs can be used here."""
        return availability(self._build, self._runtime, self._host, os.environ)

    def devices(self) -> list[Device]:
        """The Intel GPUs that PyTorch sees."""
        return [] if isinstance(self.probe(), Unavailable) else describe(self._runtime)

    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> torch.Tensor:
        """Copy a NumPy array to the device, unless it is of 64-bit floating point and the device has none."""
        if not self._runtime.devices[device.index].has_fp64:
            refuse_wide(array.dtype, device)
        return super().from_host(array, device, axes=axes, layout=layout)

    @contextlib.contextmanager
    def _on(self, device: Device, plan: Plan) -> Iterator[None]:
        from hal.backends.xpu.switches import onednn_products

        with super()._on(device, plan), onednn_products("tf32" if plan.precision == "tf32" else "ieee"), no_fallback():
            yield

    def telemetry(self, device: Device) -> Telemetry:
        """The card's counters from the kernel; unknown where several cards of a product cannot be told apart."""
        if device.index >= len(self._runtime.devices):
            return Telemetry()
        found = self._runtime.devices[device.index]
        alone = sum(each.device_id == found.device_id for each in self._runtime.devices) == 1
        return read_counters(pci_address(found.device_id)) if alone else Telemetry()

    def classify(self, error: BaseException) -> HalError | None:
        """Name PyTorch's exceptions and those of SYCL's runtime, which are bare RuntimeErrors."""
        known = super().classify(error) or unsupported_operation(error, "Intel GPUs")
        return known or lost_or_unsupported(error, self.name)

    def versions(self) -> dict[str, str]:
        """PyTorch, the runtime that it was built for, and the driver."""
        found = {"xpu": self._runtime.version or ""}
        if self._runtime.devices:
            found["driver"] = self._runtime.devices[0].driver_version
        return {**super().versions(), **{name: version for name, version in found.items() if version}}
