"""Counters of NVIDIA GPUs through NVML (PyPI: nvidia-ml-py, the extra ``nvidia``)."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hal.backends._torch.pci import Link, read_link
from hal.backends._torch.processes import count_others
from hal.contract import Telemetry
from hal.contract.counters import Throttle
from hal.errors import UnsupportedError

__all__ = ["NvmlReader"]

Value = TypeVar("Value")

_REASONS: Mapping[int, Throttle] = {
    0x02: "clock setting",
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal",
    0x40: "thermal",
    0x80: "power brake",
    0x100: "clock setting",
}
"""Bits of nvmlClocksEventReasons; the lowest one says that the card is idle."""


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
        running = ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        others = None if running is None else count_others(process.pid for process in running)
        if mig:
            return Telemetry(memory_used_bytes=memory, others=others, is_slice=True)
        link = read_link(pci)
        link = Link(
            ask(lambda: int(nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle))) or link.generation,
            ask(lambda: int(nvml.nvmlDeviceGetCurrPcieLinkWidth(handle))) or link.width,
            ask(lambda: int(nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration(handle))) or link.max_generation,
            # NVML tells the widest link that card and slot allow together, which hides a slot that is too narrow.
            link.max_width or ask(lambda: int(nvml.nvmlDeviceGetMaxPcieLinkWidth(handle))),
        )
        return Telemetry(
            power_w=ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
            temperature_c=ask(lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            clock_mhz=ask(lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))),
            memory_used_bytes=memory,
            energy_j=ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3),
            clock_max_mhz=ask(lambda: float(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))),
            memory_clock_mhz=ask(lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            memory_clock_max_mhz=ask(lambda: float(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            throttle=_throttle(_first_known(ask, self._reasons(nvml, handle))),
            power_limit_w=ask(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3),
            power_limit_default_w=ask(lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1e3),
            power_limit_range_w=ask(lambda: _range(nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle))),
            link_generation=link.generation,
            link_width=link.width,
            link_max_generation=link.max_generation,
            link_max_width=link.max_width,
            fan_percent=ask(lambda: float(nvml.nvmlDeviceGetFanSpeed(handle))),
            ecc=ask(lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0])),
            ecc_errors=ask(
                lambda: int(
                    nvml.nvmlDeviceGetTotalEccErrors(
                        handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                    )
                )
            ),
            busy_percent=ask(lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            others=others,
            is_slice=False,
        )

    def limit_power(self, watts: float, *, uuid: str = "", pci: str = "") -> None:
        """Set the cap of a card's power.

        Raises:
            UnsupportedError: the library is missing, or the driver refuses, mostly for want of rights.
        """
        nvml = self._library()
        handle = None if nvml is None else self._handle(nvml, uuid, pci, mig=False)
        if nvml is None or handle is None:
            raise UnsupportedError(
                "the power limit cannot be set: NVML does not show this card", fix="pip install 'hal-tensor[nvidia]'"
            )
        try:
            nvml.nvmlDeviceSetPowerManagementLimit(handle, round(watts * 1e3))
        except nvml.NVMLError as error:
            raise UnsupportedError(
                f"the driver refused to set the power limit to {watts:g} W: {error}",
                fix="run as root, or leave power_limits= out",
            ) from error

    @staticmethod
    def _reasons(nvml: Any, handle: Any) -> tuple[Callable[[], int], ...]:
        # The function has a new name since driver 535.
        return (
            lambda: int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),
            lambda: int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
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


def _first_known(ask: Callable[[Callable[[], int]], int | None], ways: tuple[Callable[[], int], ...]) -> int | None:
    return next((value for way in ways if (value := ask(way)) is not None), None)


def _throttle(bits: int | None) -> tuple[Throttle, ...] | None:
    if bits is None:
        return None
    return tuple(dict.fromkeys(reason for bit, reason in _REASONS.items() if bits & bit))


def _range(limits_mw: tuple[int, int]) -> tuple[float, float]:
    low, high = limits_mw
    return low / 1e3, high / 1e3
