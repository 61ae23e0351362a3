"""The contract on NVIDIA GPUs: PyTorch's device type ``cuda`` in a CUDA build."""

from __future__ import annotations

import functools
import os
from typing import ClassVar

from hal.backends._torch import TorchBackend
from hal.backends.cuda.decisions import availability, describe, mig_profile
from hal.backends.cuda.host import Host, read_host
from hal.backends.cuda.telemetry import NvmlReader
from hal.contract import Available, Telemetry, Unavailable
from hal.contract.device import Device
from hal.errors import UnsupportedError

__all__ = ["CudaBackend"]


class CudaBackend(TorchBackend):
    """NVIDIA GPUs through PyTorch."""

    name: ClassVar[str] = "cuda"
    priority: ClassVar[int] = 10
    aliases: ClassVar[tuple[str, ...]] = ("nvidia", "geforce", "rtx", "gpu")
    device_type: ClassVar[str] = "cuda"

    @functools.cached_property
    def _host(self) -> Host:
        return read_host()

    @functools.cached_property
    def _counters(self) -> NvmlReader:
        return NvmlReader()

    def probe(self) -> Available | Unavailable:
        """Whether NVIDIA GPUs can be used here."""
        return availability(self._build, self._host, os.environ)

    def devices(self) -> list[Device]:
        """The NVIDIA GPUs that PyTorch sees."""
        if self._build is None or isinstance(self.probe(), Unavailable):
            return []
        return describe(self._build, self._host)

    def telemetry(self, device: Device) -> Telemetry:
        """The card's counters from NVML; all None without the extra ``nvidia``."""
        if self._build is None or device.index >= len(self._build.devices):
            return Telemetry()
        found = self._build.devices[device.index]
        return self._counters.read(uuid=found.uuid, pci=found.pci, mig=bool(mig_profile(found.name)))

    def limit_power(self, device: Device, watts: float) -> None:
        """Cap the card's power through NVML, which needs the rights of root."""
        found = self._build.devices[device.index] if self._build else None
        if found is None or mig_profile(found.name):
            raise UnsupportedError(
                f"{device} is a slice of a card, whose power is capped as a whole", fix="leave power_limits= out"
            )
        self._counters.limit_power(watts, uuid=found.uuid, pci=found.pci)

    def versions(self) -> dict[str, str]:
        """PyTorch, the runtime it was built for, and the driver."""
        driver = {"driver": self._host.driver} if self._host.driver else {}
        return {**super().versions(), **driver}
