"""Refuses arrays of types that a device does not compute with."""

from __future__ import annotations

from typing import Any

import numpy as np

from hal.contract.device import Device
from hal.errors import UnsupportedError

__all__ = ["refuse_wide"]

_WIDE = (np.dtype(np.float64), np.dtype(np.complex128))


def refuse_wide(dtype: np.dtype[Any], device: Device) -> None:
    """Nothing, unless the type is of 64-bit floating point; for a device that has none.

    Raises:
        UnsupportedError: it is.
    """
    if dtype in _WIDE:
        raise UnsupportedError(
            f"{device} ({device.name}) has no 64-bit floating point, which {dtype} needs",
            fix="convert the array to float32, or use backend=cpu",
        )
