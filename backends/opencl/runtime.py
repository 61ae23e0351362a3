"""A device's context, queue, memory and programs. Launches of one queue run in order."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pyopencl as cl

from hal.backends.opencl.codegen.kernel import Facts, Kernel
from hal.backends.opencl.codegen.program import program_source
from hal.backends.opencl.program_cache import load_binary, program_key, save_binary
from hal.backends.opencl.storage import BaseRuntime, Storage, rounded_bytes
from hal.contract.device import Device
from hal.errors import OutOfMemoryError, RunError

__all__ = ["Binds", "Runtime", "options_of"]

_OPTIONS = "-cl-std=CL1.2"
_LESS = "use a smaller batch=, or split the batch with accumulate="
_ROUNDED = " -cl-fp32-correctly-rounded-divide-sqrt"


class Binds(Protocol):
    """What keeps memory that it was run with, to run with it again."""

    def unbind(self) -> None:
        """Let go of that memory."""


class Runtime(BaseRuntime):
    """One device that is here.

    Args:
        native: pyopencl's device.
        device: what hal says of it.
        facts: what generated code depends on.
        stores_programs: keep programs on disk, because the driver does not.

    Attributes:
        driver: what tells it from others, for what is kept on disk.
    """

    def __init__(self, native: Any, device: Device, facts: Facts, *, stores_programs: bool) -> None:
        super().__init__(device, facts, wide_floats="cl_khr_fp64" in native.extensions.split())
        self.native = native
        self.stores_programs = stores_programs
        self.context = cl.Context([native])
        self.queue = cl.CommandQueue(self.context)
        # Launches set arguments of kernels that threads share.
        self.lock = threading.RLock()
        self._options = options_of(native)
        self.allocated_bytes = 0
        self.peak_bytes = 0
        self.programs: weakref.WeakSet[Binds] = weakref.WeakSet()
        self._pool: dict[int, list[Any]] = {}
        self._programs: dict[str, Any] = {}
        self.driver = "\0".join((native.platform.version, native.name, native.driver_version))

    # Memory

    def allocate(self, nbytes: int) -> Storage:
        """Memory of at least so many bytes, with whatever it held before.

        Raises:
            OutOfMemoryError: the device has not as much.
        """
        size = rounded_bytes(nbytes)
        if size > self.native.max_mem_alloc_size:
            raise OutOfMemoryError(
                f"{self.device} cannot hold an array of {nbytes:,} bytes: its driver gives at most "
                f"{self.native.max_mem_alloc_size:,} at once",
                fix=_LESS,
            )
        with self.lock:
            free = self._pool.get(size)
            buffer = free.pop() if free else self._new(size)
            self.allocated_bytes += size
            self.peak_bytes = max(self.peak_bytes, self.allocated_bytes)
        return Storage(self, buffer, size)

    def _new(self, size: int) -> Any:
        try:
            return cl.Buffer(self.context, cl.mem_flags.READ_WRITE, size)
        except cl.MemoryError:
            self.release_pool()
            return cl.Buffer(self.context, cl.mem_flags.READ_WRITE, size)

    def take_back(self, storage: Storage) -> None:
        """Keep memory for the next array of its size: what is queued before runs before."""
        with self.lock:
            self.allocated_bytes -= storage.nbytes
            self._pool.setdefault(storage.nbytes, []).append(storage.buffer)

    def copied(self, storage: Storage) -> Storage:
        """Other memory with the same values."""
        copy = self.allocate(storage.nbytes)
        with self.lock:
            cl.enqueue_copy(self.queue, copy.buffer, storage.buffer)
        return copy

    def release_pool(self) -> None:
        """Give the driver back what no array uses."""
        with self.lock:
            self.queue.finish()
            for program in self.programs:
                program.unbind()
            self._pool.clear()

    def upload(self, host: np.ndarray) -> Storage:
        """A copy of a host array in C order."""
        contiguous = np.ascontiguousarray(host)
        storage = self.allocate(contiguous.nbytes)
        if contiguous.nbytes:
            with self.lock:
                cl.enqueue_copy(self.queue, storage.buffer, contiguous, is_blocking=True)
        return storage

    def download(self, storage: Storage, shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
        """A copy on the host, once everything that was queued has run."""
        host = np.empty(tuple(shape), dtype)
        if host.nbytes:
            with self.lock:
                cl.enqueue_copy(self.queue, host, storage.buffer, is_blocking=True)
        return host

    # Programs

    def kernels(self, wanted: Iterable[Kernel]) -> dict[str, Any]:
        """Programs that hold each kernel, by the kernel's name; those that are not there yet are built as one.

        Raises:
            RunError: the driver's compiler refuses one.
        """
        with self.lock:
            missing = {each.name: each for each in wanted if each.name not in self._programs}
            if missing:
                program = self._built([missing[name].source for name in sorted(missing)])
                self._programs.update(dict.fromkeys(missing, program))
            return self._programs

    def _built(self, sources: Sequence[str]) -> Any:
        text = program_source(sources, self.facts)
        key = program_key(self.driver, self._options, text)
        stored = load_binary(key) if self.stores_programs else None
        if stored is not None:
            try:
                return _quietly(lambda: cl.Program(self.context, [self.native], [stored]).build(self._options))
            except cl.Error:
                pass  # of another driver after all, so it is built again below
        unbuilt: Any = cl.Program(self.context, text)
        try:
            program = _quietly(lambda: unbuilt.build(self._options, cache_dir=False))
        except cl.RuntimeError as error:
            raise RunError(
                f"the OpenCL compiler of {self.device} ({self.device.name}) refused a kernel: {_first_errors(error)}",
                fix="update the device's driver; if it is up to date, this is a fault in hal's generated code",
            ) from error
        if self.stores_programs:
            save_binary(key, program.get_info(cl.program_info.BINARIES)[0])
        return program

    def finish(self) -> None:
        """Wait for everything that was queued."""
        self.queue.finish()


def options_of(native: Any) -> str:
    """Options of the compiler: division and square root are rounded correctly where the device says that it can."""
    exact = native.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
    return _OPTIONS + (_ROUNDED if exact else "")


def _quietly(build: Callable[[], Any]) -> Any:
    """Build without pyopencl's warning that a compiler said something; PoCL reports each loop that has no vectors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        return build()


def _first_errors(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "error" in line.lower()]
    return " / ".join(lines[:3]) or str(error).splitlines()[0]
