"""The runtime of each device and target, made when it is first used."""

from __future__ import annotations

import threading
from typing import Any

from hal.backends.opencl.decisions import facts_of, keeps_programs
from hal.backends.opencl.platforms import find
from hal.backends.opencl.runtime import Runtime
from hal.backends.opencl.storage import BaseRuntime
from hal.backends.opencl.targets.cards import PREFIX, target_runtime
from hal.contract.device import Device
from hal.errors import UnsupportedError

__all__ = ["driven", "first_device", "found_devices", "runtime_of"]

_RUNTIMES: dict[Device, Runtime] = {}
_LOCK = threading.Lock()


def found_devices() -> list[Device]:
    """All devices."""
    return [device for device, _, _ in find().devices]


def first_device() -> Device:
    """What arrays are created on unless somebody says otherwise."""
    return found_devices()[0]


def runtime_of(device: Any = None) -> BaseRuntime:
    """The runtime of a device, of one that is here or of a target; None: of the first that is here.

    Raises:
        UnsupportedError: it is not a device of this backend.
    """
    if isinstance(device, Device) and device.backend == "opencl" and device.kind.startswith(PREFIX):
        return target_runtime(device)
    return driven(device)


def driven(device: Any = None) -> Runtime:
    """The runtime of a device that is here; None: of the first.

    Raises:
        UnsupportedError: it is not a device of this backend.
    """
    with _LOCK:
        for mine, native, driver in find().devices:
            if device is None or mine == device:
                if mine not in _RUNTIMES:
                    _RUNTIMES[mine] = Runtime(
                        native, mine, facts_of(driver), stores_programs=not keeps_programs(driver)
                    )
                return _RUNTIMES[mine]
    raise UnsupportedError(
        f"device={device} is not a device of the opencl backend",
        fix=f"use one of: {', '.join(map(str, found_devices()))}",
    )
