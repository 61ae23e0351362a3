"""What the machine itself says about AMD cards and their driver, without PyTorch."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hal.backends._torch.pci import DEVICES, count_accelerators

__all__ = ["Access", "Host", "gfx_name", "read_host"]

PCI_VENDOR = "0x1002"
_TOPOLOGY = Path("/sys/class/kfd/kfd/topology/nodes")
_KFD = Path("/dev/kfd")

Access = Literal["open", "denied", "absent"]


@dataclass(frozen=True)
class Host:
    """Cards and driver.

    Attributes:
        kfd: whether this process may open ``/dev/kfd``, through which every computation goes.
        cards: LLVM targets of the cards, for example ``gfx1100``; a card that no driver claims is called ``card``.
    """

    kfd: Access = "absent"
    cards: tuple[str, ...] = ()


def read_host(
    bootstrap: Any = None,
    topology: Path = _TOPOLOGY,
    kfd: Path = _KFD,
    pci: Path = DEVICES,
) -> Host:
    """Describe the machine. Never raises.

    Args:
        bootstrap: the module rocm_bootstrap (the extra ``amd``) or a stand-in; None: import it if it is installed.
        topology: the kernel driver's folder of nodes in sysfs.
        kfd: the kernel driver's device file.
        pci: folder of PCI devices in sysfs.
    """
    cards = _topology_cards(topology) or _bootstrap_cards(bootstrap) or ("card",) * count_accelerators(PCI_VENDOR, pci)
    return Host(_access(kfd), cards)


def gfx_name(version: int) -> str:
    """The LLVM target of a ``gfx_target_version`` of the kernel driver, which packs major, minor and stepping.

    >>> gfx_name(90010), gfx_name(90402), gfx_name(110000)
    ('gfx90a', 'gfx942', 'gfx1100')
    """
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _access(kfd: Path) -> Access:
    if not kfd.exists():
        return "absent"
    return "open" if os.access(kfd, os.R_OK | os.W_OK) else "denied"


def _topology_cards(topology: Path) -> tuple[str, ...]:
    names = []
    for path in sorted(topology.glob("*/properties"), key=lambda p: (len(p.parent.name), p.parent.name)):
        try:
            text = path.read_text()
        except OSError:  # the kernel hides the nodes of cards that a container may not use
            continue
        values = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
        version = int(values.get("gfx_target_version", 0))
        if version:  # processors are nodes too, with version 0
            names.append(gfx_name(version))
    return tuple(names)


def _bootstrap_cards(bootstrap: Any) -> tuple[str, ...]:
    try:
        bootstrap = bootstrap or importlib.import_module("rocm_bootstrap")
        return tuple(str(found.target.name) for found in bootstrap.detect_gpus())
    except (ImportError, OSError, ValueError):  # not installed, or a target that it does not know
        return ()
