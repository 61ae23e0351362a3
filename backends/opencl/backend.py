"""The contract on OpenCL: a graph of hal's own, compiled to OpenCL C, on any device with a driver of OpenCL 1.2."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hal.backends.opencl.platforms import find
from hal.contract import Available, BuildsTargets, MemoryUse, Unavailable
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.contract.program import Program, Target
from hal.errors import DeviceLostError, HalError, OutOfMemoryError
from hal.types import Tree
from hal.util.messages import first_line

if TYPE_CHECKING:
    from hal.backends.opencl.array import OpenclArray
    from hal.backends.opencl.ops import OpenclOps

__all__ = ["OpenclBackend"]

_LESS = "use a smaller batch=, or split the batch with accumulate="
# Codes of OpenCL: no memory for an object, out of resources, out of memory on the host; then those of lost devices.
_OUT_OF_MEMORY = (-4, -5, -6)
_LOST = (-2, -36)


class OpenclBackend(BuildsTargets):
    """Every device of every OpenCL platform: ``opencl:gpu:0``, ``opencl:cpu:0``."""

    name: ClassVar[str] = "opencl"
    priority: ClassVar[int] = -1

    def probe(self) -> Available | Unavailable:
        """Whether pyopencl, a driver and a device are there."""
        found = find()
        return Unavailable(found.problem, found.fix) if found.problem else Available(found.detail)

    def devices(self) -> list[Device]:
        """The devices of all platforms, GPUs first."""
        return [device for device, _, _ in find().devices]

    def ops(self, device: Device) -> OpenclOps:
        """The neutral tensor API bound to a device."""
        return _bound_ops(device)

    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> OpenclArray:
        """Copy a NumPy array to the device; there is one storage order."""
        from hal.backends.opencl.devices import runtime_of
        from hal.backends.opencl.primitives import from_numpy

        self.ops(device)  # from now on hal.ops serves arrays of this backend
        return from_numpy(runtime_of(device), array)

    def to_host(self, array: OpenclArray) -> np.ndarray:
        """Compute an array if nothing has done so yet, wait for it, and copy it to NumPy."""
        return array.host()

    def value_and_grad(
        self, fn: Callable[..., tuple[Any, Tree]], plan: Plan | None = None
    ) -> Callable[..., tuple[tuple[Any, Tree], Tree]]:
        """Differentiate the graph that the function makes; :meth:`compile` compiles what it is part of."""
        from hal.backends.opencl.gradients import value_and_grad

        return value_and_grad(fn)

    def compile(self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Trace the whole function and fuse its kernels; ``max`` also times kernels; ``eager`` runs op by op."""
        from hal.backends.opencl.codegen.choices import keys_of
        from hal.backends.opencl.compiling import by_operation, compiled

        if plan.compile == "eager":
            return by_operation(fn, keys_of(plan))
        return compiled(fn, keys_of(plan), donate=donate, search=plan.compile == "max")

    def rng(self, seed: int, device: Device) -> OpenclArray:
        """Two 32-bit words on the device."""
        words = np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)
        return self.from_host(words, device)

    def synchronize(self, device: Device) -> None:
        """Wait until everything that was launched has run."""
        from hal.backends.opencl.devices import driven

        driven(device).finish()

    def clear_caches(self, device: Device) -> None:
        """Drop traced programs, and give memory that no array uses back to the driver."""
        from hal.backends.opencl.compiling import forget_programs
        from hal.backends.opencl.devices import driven

        forget_programs()
        driven(device).release_pool()

    def memory(self, device: Device) -> MemoryUse:
        """Memory of all arrays of this process on the device."""
        from hal.backends.opencl.devices import driven

        runtime = driven(device)
        return MemoryUse(runtime.allocated_bytes, runtime.peak_bytes)

    def reset_peak_memory(self, device: Device) -> None:
        """Start a new peak."""
        from hal.backends.opencl.devices import driven

        runtime = driven(device)
        runtime.peak_bytes = runtime.allocated_bytes

    def classify(self, error: BaseException) -> HalError | None:
        """Name OpenCL's errors by their code."""
        if isinstance(error, HalError):
            return error
        if isinstance(error, MemoryError):
            return OutOfMemoryError(f"opencl ran out of memory: {error}", fix=_LESS)
        try:
            import pyopencl as cl
        except ImportError:
            return None
        if isinstance(error, cl.MemoryError):
            return OutOfMemoryError(f"opencl ran out of memory: {first_line(error)}", fix=_LESS)
        if not isinstance(error, cl.Error):
            return None
        code = int(getattr(error, "code", 0))
        if code in _OUT_OF_MEMORY:
            return OutOfMemoryError(f"opencl ran out of memory: {first_line(error)}", fix=_LESS)
        if code in _LOST:
            return DeviceLostError(f"the OpenCL device stopped answering: {first_line(error)}", fix="run: hal devices")
        return None

    def targets(self) -> tuple[str, ...]:
        """Cards of AMD and Intel, by architecture and by product."""
        from hal.backends.opencl.targets import cards

        return cards.names()

    def target(self, name: str) -> Target | None:
        """A card of the catalogue."""
        from hal.backends.opencl.targets import cards

        return cards.target(name)

    def probe_targets(self) -> Available | Unavailable:
        """Neither a driver nor a device is needed, but pyopencl is loaded with the graph."""
        found = find()
        return Unavailable(found.problem, found.fix) if found.lacks_pyopencl else Available("clang")

    def build(
        self,
        fn: Callable[..., Any],
        arguments: Sequence[Any],
        target: Device,
        plan: Plan,
        *,
        donate: tuple[int, ...] = (),
    ) -> Program:
        """Compile hal's kernels with clang for a card that is not here."""
        from hal.backends.opencl.targets.build import build_for

        self.ops(target)  # from now on hal.ops serves what is traced
        return build_for(fn, arguments, target, plan, donate=donate)

    def versions(self) -> dict[str, str]:
        """Pyopencl, and the driver of each device."""
        found = {"pyopencl": metadata.version("pyopencl")}
        for device, _, driver in find().devices:
            found[str(device)] = f"{driver.platform}, driver {driver.driver_version}"
        return found


@functools.cache
def _bound_ops(device: Device) -> OpenclOps:
    from hal.backends.opencl.ops import OpenclOps

    return OpenclOps(device)
