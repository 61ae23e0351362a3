"""One model definition on any vendor's accelerator, and the fastest correct way to run it there.

>>> import hal
>>> x = hal.device("cpu").xp.ones((2, 3))
>>> hal.ops.sum(x).item()
6.0

Importing hal loads no framework; a backend loads its own when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hal import api, errors, nn, ops
    from hal.api import bench, card, choose, compile, devices, export, load, predict, train, tune, verify
    from hal.contract.device import Capabilities, Device
    from hal.contract.plan import Plan
    from hal.nn import Model
    from hal.registry import device
    from hal.workload import Workload

__version__ = "0.1.0"

__all__ = [
    "Capabilities",
    "Device",
    "Model",
    "Plan",
    "Workload",
    "__version__",
    "api",
    "bench",
    "card",
    "choose",
    "compile",
    "device",
    "devices",
    "errors",
    "export",
    "load",
    "nn",
    "ops",
    "predict",
    "train",
    "tune",
    "verify",
]

_HOMES = {
    "Capabilities": "hal.contract.device",
    "Device": "hal.contract.device",
    "Model": "hal.nn",
    "Plan": "hal.contract.plan",
    "Workload": "hal.workload",
    "bench": "hal.api",
    "card": "hal.api",
    "choose": "hal.api",
    "compile": "hal.api",
    "device": "hal.registry",
    "devices": "hal.api",
    "export": "hal.api",
    "load": "hal.api",
    "predict": "hal.api",
    "train": "hal.api",
    "tune": "hal.api",
    "verify": "hal.api",
}
_MODULES = frozenset({"api", "errors", "nn", "ops"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"hal.{name}")
    if name in _HOMES:
        if _HOMES[name] in ("hal.api", "hal.registry"):
            importlib.import_module("hal.util.systems").refuse_windows()
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'hal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
