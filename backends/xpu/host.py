"""What Linux says about Intel's GPUs and the access to them, without PyTorch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hal.backends._torch.pci import DEVICES, count_accelerators, find_cards

__all__ = ["PCI_VENDOR", "Host", "pci_address", "read_host"]

PCI_VENDOR = "0x8086"
_RENDER = Path("/dev/dri")

Access = Literal["open", "denied", "absent"]


@dataclass(frozen=True)
class Host:
    """GPUs and driver.

    Attributes:
        cards: Intel's display controllers and accelerators on the PCI bus.
        render: whether this process may open one of the kernel's render nodes, through which every computation goes.
    """

    cards: int = 0
    render: Access = "absent"


def read_host(pci: Path = DEVICES, render: Path = _RENDER) -> Host:
    """Describe the machine. Never raises.

    Args:
        pci: folder of PCI devices in sysfs.
        render: folder of the kernel's graphics devices.
    """
    nodes = list(render.glob("renderD*"))
    access: Access = "open" if any(os.access(node, os.R_OK | os.W_OK) for node in nodes) else "denied"
    return Host(count_accelerators(PCI_VENDOR, pci), access if nodes else "absent")


def pci_address(device_id: int, pci: Path = DEVICES) -> str:
    """The PCI address of the one card of a product; empty if there is none, or if several cannot be told apart.

    Args:
        device_id: PCI device.
        pci: folder of PCI devices in sysfs.
    """
    found = find_cards(PCI_VENDOR, f"{device_id:#06x}", pci)
    return found[0] if len(found) == 1 else ""
