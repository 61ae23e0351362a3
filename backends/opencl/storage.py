"""What a graph is built on: the facts of a device, and memory of arrays. No driver is needed for it."""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np

from hal.backends._traced.dtypes import DType
from hal.backends.opencl.codegen.kernel import Facts
from hal.contract.device import Device
from hal.errors import UnsupportedError

__all__ = ["BaseRuntime", "Storage", "rounded_bytes"]


class Storage:
    """Memory of an array. It goes back to its device's pool when nothing refers to it any more.

    Attributes:
        shared: whether more than one array uses it, or a program does, so that nobody may write to it.
    """

    __slots__ = ("__weakref__", "_taken", "buffer", "nbytes", "runtime", "shared")

    def __init__(self, runtime: BaseRuntime, buffer: Any, nbytes: int) -> None:
        self.runtime = runtime
        self.buffer = buffer
        self.nbytes = nbytes
        self._taken = self.shared = False

    def take(self) -> Storage:
        """The memory, for one more array."""
        self.shared, self._taken = self.shared or self._taken, True
        return self

    def give_up(self) -> None:
        """The one array that had it lets go of it."""
        self._taken = False

    def __del__(self) -> None:
        self.runtime.take_back(self)


class BaseRuntime(abc.ABC):
    """A device, as far as graphs and their kernels depend on it.

    Args:
        device: what hal says of it.
        facts: what generated code depends on.
        wide_floats: whether it has float64.
    """

    def __init__(self, device: Device, facts: Facts, *, wide_floats: bool) -> None:
        self.device = device
        self.facts = facts
        self.wide_floats = wide_floats

    def check(self, dtype: DType) -> None:
        """Refuse a type that the device does not have.

        Raises:
            UnsupportedError: it does not.
        """
        if dtype.name == "bfloat16":
            raise UnsupportedError("bfloat16 is not part of OpenCL", fix="use float16 or float32")
        if dtype.name in ("float64", "complex128") and not self.wide_floats:
            raise UnsupportedError(
                f"{self.device} ({self.device.name}) has no float64: its driver lacks cl_khr_fp64", fix="use float32"
            )

    @abc.abstractmethod
    def upload(self, host: np.ndarray) -> Storage:
        """A copy of a host array in C order."""

    @abc.abstractmethod
    def take_back(self, storage: Storage) -> None:
        """Memory that nothing refers to any more."""


def rounded_bytes(nbytes: int) -> int:
    """A size that memory is given out in, so that arrays of nearly equal sizes can follow each other."""
    if nbytes <= 256:
        return 256
    step = 1 << max(int(math.log2(nbytes)) - 3, 8)
    return -(-nbytes // step) * step
