"""Counters of NVIDIA GPUs through NVML (PyPI: nvidia-ml-py, the extra ``nvidia``)."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from hal.contract import Telemetry

__all__ = ["NvmlReader"]

Value = TypeVar("Value")


class NvmlReader:
    """Reads counters of one card at a time; a counter that the card or the library does not offer is None.

    Args:
        nvml: the module pynvml or a stand-in; None: import it if it is installed.
    """

    def __init__(self, nvml: Any = None) -> None:
        self._given = nvml
        self._lock = threading.Lock()
        self._tried = False
        self._nvml: Any = None

    def read(self, *, uuid: str = "", pci: str = "", mig: bool = False) -> Telemetry:
        """Counters of a card now.

        Args:
            uuid: the card's or slice's identifier, without prefix.
            pci: the card's PCI address; used where the identifier is not known.
            mig: it is a slice of a card. A slice has memory of its own; power, temperature and clock belong to the
                whole card and are None.
        """
        nvml = self._library()
        if nvml is None:
            return Telemetry()
        handle = self._handle(nvml, uuid, pci, mig)
        if handle is None:
            return Telemetry()

        def ask(call: Callable[[], Value]) -> Value | None:
            try:
                return call()
            except (nvml.NVMLError, AttributeError):
                return None

        memory = ask(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used))
        if mig:
            return Telemetry(memory_used_bytes=memory)
        return Telemetry(
            power_w=ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
            temperature_c=ask(lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            clock_mhz=ask(lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))),
            memory_used_bytes=memory,
            energy_j=ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3),
        )

    def _library(self) -> Any:
        with self._lock:
            if not self._tried:
                self._tried = True
                self._nvml = self._start()
            return self._nvml

    def _start(self) -> Any:
        try:
            nvml = self._given or importlib.import_module("pynvml")
        except ImportError:
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return None
        return nvml

    @staticmethod
    def _handle(nvml: Any, uuid: str, pci: str, mig: bool) -> Any:
        ways: list[Callable[[], Any]] = []
        if uuid:
            ways.append(lambda: nvml.nvmlDeviceGetHandleByUUID(f"{'MIG' if mig else 'GPU'}-{uuid}"))
        if pci and not mig:  # the address is that of the whole card
            ways.append(lambda: nvml.nvmlDeviceGetHandleByPciBusId(pci))
        for way in ways:
            try:
                return way()
            except nvml.NVMLError:
                continue
        return None
