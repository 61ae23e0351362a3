"""The contract on AMD GPUs: a ROCm build of PyTorch drives them under the device type ``cuda``."""

from __future__ import annotations

import functools
import os
from typing import ClassVar

from hal.backends._torch import TorchBackend
from hal.backends.rocm.decisions import availability, describe
from hal.backends.rocm.host import Host, read_host
from hal.backends.rocm.telemetry import AmdSmiReader
from hal.contract import Available, Telemetry, Unavailable
from hal.contract.device import Device

__all__ = ["RocmBackend"]


class RocmBackend(TorchBackend):
    """AMD GPUs through PyTorch."""

    name: ClassVar[str] = "rocm"
    priority: ClassVar[int] = 10
    aliases: ClassVar[tuple[str, ...]] = ("amd", "hip", "radeon", "gpu")
    device_type: ClassVar[str] = "cuda"

    @functools.cached_property
    def _host(self) -> Host:
        return read_host()

    @functools.cached_property
    def _counters(self) -> AmdSmiReader:
        return AmdSmiReader()

    def probe(self) -> Available | Unavailable:
        """Whether AMD GPUs can be used here."""
        return availability(self._build, self._host, os.environ)

    def devices(self) -> list[Device]:
        """The AMD GPUs that PyTorch sees."""
        if self._build is None or isinstance(self.probe(), Unavailable):
            return []
        return describe(self._build, os.environ)

    def telemetry(self, device: Device) -> Telemetry:
        """The card's counters from AMD SMI; all None without the extra ``amd``."""
        if self._build is None or device.index >= len(self._build.devices):
            return Telemetry()
        return self._counters.read(pci=self._build.devices[device.index].pci)

    def limit_power(self, device: Device, watts: float) -> None:
        """Cap the card's power through AMD SMI, which needs the rights of root."""
        pci = self._build.devices[device.index].pci if self._build else ""
        self._counters.limit_power(watts, pci=pci)
