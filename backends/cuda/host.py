"""What the machine itself says about NVIDIA cards and their driver, without PyTorch."""

from __future__ import annotations

import ctypes
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal.backends._torch.pci import DEVICES, count_accelerators

__all__ = ["Host", "driver_cuda", "read_host"]

PCI_VENDOR = "0x10de"
_PROC = Path("/proc/driver/nvidia")


@dataclass(frozen=True)
class Host:
    """Cards and driver.

    Attributes:
        driver: version of the kernel driver, for example ``570.86.15``; empty where none is loaded.
        cuda: the newest CUDA version that the driver serves; None where no driver library answers.
        cards: product names; a card that no driver claims is called ``card``.
    """

    driver: str = ""
    cuda: tuple[int, int] | None = None
    cards: tuple[str, ...] = ()

    @property
    def has_driver(self) -> bool:
        """Whether a driver is loaded; some systems (WSL, Jetson) show only its library."""
        return bool(self.driver) or self.cuda is not None


def read_host(
    nvml: Any = None,
    proc: Path = _PROC,
    pci: Path = DEVICES,
    cuda: Callable[[], tuple[int, int] | None] | None = None,
) -> Host:
    """Describe the machine. Never raises.

    Args:
        nvml: the module pynvml or a stand-in; None: import it if it is installed.
        proc: the driver's folder in procfs.
        pci: folder of PCI devices in sysfs.
        cuda: reads what :attr:`Host.cuda` says; None: ask the driver's library.
    """
    driver = _proc_driver(proc)
    cards = _proc_cards(proc)
    if not driver or not cards:
        nvml_driver, nvml_cards = _ask_nvml(nvml)
        driver, cards = driver or nvml_driver, cards or nvml_cards
    if not cards:
        cards = ("card",) * count_accelerators(PCI_VENDOR, pci)
    return Host(driver, (cuda or driver_cuda)(), cards)


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA version that the installed driver serves, from the driver's own library."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            version = ctypes.c_int()
            status = ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version))
        except (OSError, AttributeError):
            continue
        if status == 0 and version.value:
            return version.value // 1000, version.value % 1000 // 10
    return None


def _proc_driver(proc: Path) -> str:
    try:
        text = (proc / "version").read_text()
    except OSError:
        return ""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return found.group(1) if found else ""


def _proc_cards(proc: Path) -> tuple[str, ...]:
    names = []
    for path in sorted(proc.glob("gpus/*/information")):
        try:
            found = re.search(r"^Model:\s*(.+?)\s*$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        names.append(found.group(1) if found else "card")
    return tuple(names)


def _ask_nvml(nvml: Any) -> tuple[str, tuple[str, ...]]:
    try:
        nvml = nvml or importlib.import_module("pynvml")
    except ImportError:
        return "", ()
    try:
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
        names = tuple(str(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count))
        return str(nvml.nvmlSystemGetDriverVersion()), names
    except nvml.NVMLError:
        return "", ()
