"""The runtime of each device, made when it is first used."""

from __future__ import annotations

import threading
from typing import Any

from hal.backends.opencl.codegen.kernel import Facts
from hal.backends.opencl.platforms import find
from hal.backends.opencl.runtime import Runtime
from hal.contract.device import Device
from hal.errors import UnsupportedError

__all__ = ["first_device", "found_devices", "runtime_of"]

_RUNTIMES: dict[Device, Runtime] = {}
_LOCK = threading.Lock()


def found_devices() -> list[Device]:
    """All devices."""
    return [device for device, _, _ in find().devices]


def first_device() -> Device:
    """What arrays are created on unless somebody says otherwise."""
    return found_devices()[0]


def runtime_of(device: Any = None) -> Runtime:
    """The runtime of a device; None: of the first.

    Raises:
        UnsupportedError: it is not a device of this backend.
    """
    with _LOCK:
        for mine, native, driver in find().devices:
            if device is None or mine == device:
                if mine not in _RUNTIMES:
                    facts = Facts(driver.kind == "cpu", driver.units, driver.local_size, driver.cache_bytes)
                    _RUNTIMES[mine] = Runtime(native, mine, facts)
                return _RUNTIMES[mine]
    raise UnsupportedError(
        f"device={device} is not a device of the opencl backend",
        fix=f"use one of: {', '.join(map(str, found_devices()))}",
    )
