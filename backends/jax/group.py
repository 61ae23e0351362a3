"""Data parallelism by sharding: batches spread over a mesh of devices, everything else whole on each of them.

XLA divides the work and adds up what is summed over the batch, so that gradients, batch statistics and metrics are
those of the whole batch. With several processes each of them holds part of the mesh.
"""

from __future__ import annotations

from typing import Any, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hal.contract import Backend, Group
from hal.contract.device import Device
from hal.errors import UnavailableError
from hal.types import Array

__all__ = ["MeshGroup", "mesh_of"]

_AXIS = "dp"


def mesh_of(devices: list[Any], count: int, device: Device) -> Mesh:
    """A mesh over the first devices of a platform.

    Raises:
        UnavailableError: there are not so many.
    """
    if len(devices) < count:
        more = (
            f"start hal with JAX_NUM_CPU_DEVICES={count}"
            if devices and devices[0].platform == "cpu" and jax.process_count() == 1
            else f"use parallel={_AXIS}={len(devices)}, or start more processes"
        )
        raise UnavailableError(
            f"parallel={_AXIS}={count} needs {count} devices like {device}, but there are only {len(devices)}", fix=more
        )
    return Mesh(np.array(devices[:count]), (_AXIS,), axis_types=(AxisType.Auto,))


class MeshGroup(Group):
    """The devices of a mesh."""

    def __init__(self, backend: Backend, device: Device, mesh: Mesh) -> None:
        super().__init__(backend, device)
        self.rank, self.size = jax.process_index(), jax.process_count()
        self.devices = mesh.devices.size
        self._local = list(mesh.local_devices)
        spec: Any = PartitionSpec
        self._replicated, self._divided = NamedSharding(mesh, spec()), NamedSharding(mesh, spec(_AXIS))

    def put(self, array: np.ndarray, *, axes: str = "", layout: str = "nhwc") -> Array:
        """The whole array on every device of the mesh."""
        return self._put(array, self._replicated)

    def put_batch(self, array: np.ndarray, *, axes: str = "", layout: str = "nhwc") -> Array:
        """A batch spread over the mesh; one that does not divide, as an evaluation's last, is whole on every device."""
        divides = array.ndim > 0 and array.shape[0] % self.devices == 0
        return self._put(array, self._divided if divides else self._replicated)

    def peak_memory(self) -> int | None:
        """Of all processes on processors, of the fullest device otherwise."""
        if len(self._local) == 1 and self.size == 1:
            return super().peak_memory()
        stats = [device.memory_stats() for device in self._local]
        peaks = [each["peak_bytes_in_use"] for each in stats if each and "peak_bytes_in_use" in each]
        mine = max(peaks) if peaks else super().peak_memory()
        if self.size == 1 or mine is None:
            return mine
        with jax.enable_x64(True):
            every = np.asarray(multihost_utils.process_allgather(np.array([mine])))
        return int(every.max() if peaks else every.sum())

    def broadcast_int(self, number: int) -> int:
        """By an exchange between the devices."""
        if self.size == 1:
            return number
        return int(multihost_utils.broadcast_one_to_all(np.int32(number)))

    def _put(self, array: np.ndarray, sharding: NamedSharding) -> Array:
        with jax.enable_x64(True):
            return cast("Array", jax.make_array_from_callback(array.shape, sharding, lambda index: array[index]))
