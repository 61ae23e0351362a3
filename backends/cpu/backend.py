"""The contract on the host's processor."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from hal.backends._host.host import Host, read_host
from hal.backends._host.memory import forget_peak, resident_memory
from hal.backends._host.peaks import host_peaks
from hal.backends._host.telemetry import CpuReader
from hal.backends._torch import TorchBackend
from hal.backends.cpu.decisions import availability, describe
from hal.backends.cpu.heap import can_keep, kept_heap, trim_heap
from hal.contract import Available, MemoryUse, Telemetry, Unavailable
from hal.contract.device import Device
from hal.contract.plan import Plan

__all__ = ["CpuBackend"]


class CpuBackend(TorchBackend):
    """The host's processor through PyTorch."""

    name: ClassVar[str] = "cpu"
    priority: ClassVar[int] = 0
    device_type: ClassVar[str] = "cpu"
    copies_ahead: ClassVar[bool] = False

    @functools.cached_property
    def _host(self) -> Host:
        return read_host()

    @functools.cached_property
    def _counters(self) -> CpuReader:
        return CpuReader()

    def probe(self) -> Available | Unavailable:
        """Whether PyTorch can run here."""
        return availability(self._build)

    def devices(self) -> list[Device]:
        """The processor."""
        if isinstance(self.probe(), Unavailable):
            return []
        import torch

        onednn: Any = torch.backends.mkldnn
        capability = torch.backends.cpu.get_cpu_capability()
        return describe(self._host, capability, onednn=onednn.is_available(), heap=can_keep())

    def memory(self, device: Device) -> MemoryUse:
        """Resident memory of this process: PyTorch does not count what it holds on the host."""
        return resident_memory()

    def reset_peak_memory(self, device: Device) -> None:
        """Let Linux forget the peak of this process."""
        forget_peak()

    def clear_caches(self, device: Device) -> None:
        """Drop compiled code, and give the heap's free memory back to the kernel."""
        super().clear_caches(device)
        trim_heap()

    @contextlib.contextmanager
    def settings(self, plan: Plan, device: Device) -> Iterator[None]:
        """PyTorch's settings as the plan says, and a heap that keeps what a step frees where the plan says so."""
        with super().settings(plan, device), kept_heap() if plan.heap == "keep" else contextlib.nullcontext():
            yield

    def telemetry(self, device: Device) -> Telemetry:
        """The processor's counters."""
        return self._counters.read()

    def peaks(self, device: Device) -> Mapping[str, float]:
        """What the vector units of the cores can do, where they are known."""
        counters = self._counters.read()
        return host_peaks(self._host, counters.clock_max_mhz or counters.clock_mhz)
