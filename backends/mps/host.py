"""What the machine and PyTorch say about Apple's GPU, as frozen facts."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hal.util.messages import first_line
from hal.util.systems import on_macos, processor_name

__all__ = ["Gpu", "Host", "read_gpu", "read_host"]


@dataclass(frozen=True)
class Host:
    """The machine.

    Attributes:
        system: as Python names it, ``Darwin`` for macOS.
        machine: what this Python was built for: ``arm64``, or ``x86_64`` on Intel Macs and under Rosetta.
        macos: version of the system, for example ``15.1``; empty elsewhere.
        processor: product name of the chip, which the GPU is a part of; empty where the system does not tell.
    """

    system: str
    machine: str
    macos: str = ""
    processor: str = ""

    @property
    def release(self) -> int:
        """First number of the version; 0 where there is none."""
        first = self.macos.partition(".")[0]
        return int(first) if first.isdigit() else 0


@dataclass(frozen=True)
class Gpu:
    """The GPU, as ``torch.backends.mps`` and ``torch.mps`` describe it.

    Attributes:
        built: whether this PyTorch was built for it.
        available: whether Metal gives PyTorch a device.
        name: product name, for example ``Apple M1 Pro``; empty where PyTorch does not tell.
        cores: GPU cores; None where PyTorch does not tell.
        memory_bytes: of the shared memory, how much Metal recommends to use at most; None where unknown.
        failure: first line of what PyTorch raised instead; empty if it raised nothing.
    """

    built: bool = False
    available: bool = False
    name: str = ""
    cores: int | None = None
    memory_bytes: int | None = None
    failure: str = ""


def read_host() -> Host:
    """Describe the machine."""
    return Host(platform.system(), platform.machine(), platform.mac_ver()[0], processor_name() if on_macos() else "")


def read_gpu(torch: ModuleType | Any) -> Gpu:
    """Describe the GPU of a module that looks like PyTorch. Never raises."""
    try:
        mps = torch.backends.mps
        built, available = bool(mps.is_built()), bool(mps.is_available())
        if not available:
            return Gpu(built)
        # Older versions of PyTorch do not tell these two.
        name, cores = getattr(mps, "get_name", str), getattr(mps, "get_core_count", int)
        return Gpu(built, True, str(name()), int(cores()) or None, int(torch.mps.recommended_max_memory()) or None)
    except Exception as error:  # noqa: BLE001 - drivers and runtimes raise many types; a probe must not
        return Gpu(failure=first_line(error))
