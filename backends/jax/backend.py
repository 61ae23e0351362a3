"""The contract on JAX: whole steps compiled by XLA, for every platform that JAX drives."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hal.backends._host import CpuReader, forget_peak, host_peaks, read_host, resident_memory
from hal.backends.jax import targets
from hal.backends.jax.decisions import describe_accelerator, describe_processor, describe_target
from hal.backends.jax.native_code import native_code
from hal.backends.jax.runtime import prepare_devices, start
from hal.contract import (
    Available,
    BuildsTargets,
    ExportedFunction,
    ExportsPrograms,
    Group,
    MeasuresDevices,
    MemoryUse,
    SpreadsOver,
    Telemetry,
    Unavailable,
)
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.errors import DeviceLostError, HalError, OutOfMemoryError, UnsupportedError
from hal.types import Array, Tree
from hal.util.messages import first_line

if TYPE_CHECKING:
    from hal.backends.jax.ops import JaxOps
    from hal.contract.program import Program, Target
    from hal.tensor.optimizers import Optimizer

__all__ = ["JaxBackend", "TpuBackend"]

# How exactly products of fp32 are computed: XLA's own default rounds them to TF32 on GPUs and to bf16 on TPUs.
_PRODUCTS = {"fp32": "highest", "tf32": "tensorfloat32"}
# JAX's runtime errors begin with a status code, which is no attribute of theirs.
_CODES: Mapping[str, type[HalError]] = {
    "RESOURCE_EXHAUSTED": OutOfMemoryError,
    "UNIMPLEMENTED": UnsupportedError,
    "UNAVAILABLE": DeviceLostError,
    "ABORTED": DeviceLostError,
    "DATA_LOSS": DeviceLostError,
}


class JaxBackend(SpreadsOver, BuildsTargets, MeasuresDevices, ExportsPrograms):
    """Every platform that JAX finds: its devices are ``jax:tpu:0``, ``jax:gpu:1``, ``jax:cpu:0``.

    Within :meth:`settings` JAX keeps 64-bit types (labels are int64) and products of fp32 are exact.
    """

    name: ClassVar[str] = "jax"
    framework: ClassVar[str] = "jax"
    priority: ClassVar[int] = -1
    export_formats: ClassVar[tuple[str, ...]] = ("stablehlo",)
    platforms: ClassVar[tuple[str, ...] | None] = None
    """Those of JAX's platforms that this backend shows; None: all, each as a kind of device."""

    def probe(self) -> Available | Unavailable:
        """Whether JAX is installed and has a device."""
        started = start()
        return Unavailable(started.problem, started.fix) if started.problem else Available(started.version)

    def prepare_devices(self, devices: int) -> None:
        """Make so many devices of the processor, unless JAX has started or the user's environment says how many."""
        prepare_devices(devices)

    @functools.cached_property
    def _found(self) -> dict[Device, Any]:
        """Hal's devices with JAX's."""
        started, found = start(), {}
        for name, jax_devices in started.platforms.items():
            if self.platforms is None or name in self.platforms:
                for index, each in enumerate(jax_devices):
                    found[self._describe(name, index, each, started.version)] = each
        return found

    def _describe(self, name: str, index: int, device: Any, version: str) -> Device:
        if name == "cpu":
            return describe_processor(self.name, index, read_host(), platform.machine(), version)
        stats = device.memory_stats() or {}
        return describe_accelerator(
            self.name,
            name if self.platforms is None else "",
            index,
            platform=name,
            name=device.device_kind,
            compute_capability=str(getattr(device, "compute_capability", "")),
            memory_bytes=stats.get("bytes_limit"),
            core_count=getattr(device, "core_count", None),
            version=version,
        )

    def devices(self) -> list[Device]:
        """The devices of every platform, JAX's default platform first."""
        return [] if isinstance(self.probe(), Unavailable) else list(self._found)

    def ops(self, device: Device) -> JaxOps:
        """The neutral tensor API bound to a device."""
        return _bound_ops(self._found[device])

    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> Array:
        """Copy a NumPy array to the device; XLA chooses the storage order."""
        import jax

        self.ops(device)  # from now on hal.ops serves arrays of JAX
        with jax.enable_x64(True):
            return jax.device_put(np.ascontiguousarray(array).reshape(array.shape), self._found[device])

    def group(self, device: Device, plan: Plan) -> Group:
        """The device alone, or a mesh of as many like it as the plan spreads over."""
        import jax

        count = plan.spread().get("dp", 1)
        if count == 1 and jax.process_count() == 1:
            return Group(self, device)
        from hal.backends.jax.group import MeshGroup, mesh_of

        self.ops(device)
        return MeshGroup(self, device, mesh_of(jax.devices(self._found[device].platform), count, device))

    def to_host(self, array: Array) -> np.ndarray:
        """Wait for an array and copy it to NumPy."""
        host = np.asarray(array)
        host = host.astype(np.float32) if host.dtype.name == "bfloat16" else host
        return np.array(host, order="C", copy=True)

    def value_and_grad(
        self, fn: Callable[..., tuple[Array, Tree]], plan: Plan | None = None
    ) -> Callable[..., tuple[tuple[Array, Tree], Tree]]:
        """Differentiate by tracing; :meth:`compile` compiles what it is part of."""
        import jax

        differentiated = jax.value_and_grad(fn if plan is None else _with_algorithms(fn, plan), has_aux=True)

        def differentiate(*args: Any) -> tuple[tuple[Array, Tree], Tree]:
            (loss, aux), gradients = differentiated(*args)
            return jax.lax.stop_gradient((loss, aux)), gradients

        return differentiate

    def compile(self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Compile with XLA; ``eager`` runs operation by operation."""
        import jax

        bound = _with_algorithms(fn, plan)
        return bound if plan.compile == "eager" else jax.jit(bound, donate_argnums=donate)

    def targets(self) -> tuple[str, ...]:
        """TPUs, and GPUs of NVIDIA and AMD."""
        return targets.names()

    def target(self, name: str) -> Target | None:
        """A target of this backend, described by hal's own data."""
        base = name.strip().lower().partition(":")[0].replace("-", "")
        targets.refuse_product(name)
        known = {each.replace("-", "") for each in targets.names()}
        return describe_target(self.name, targets.parse(name)) if base in known else None

    def build(
        self,
        fn: Callable[..., Any],
        arguments: Sequence[Any],
        target: Device,
        plan: Plan,
        *,
        donate: tuple[int, ...] = (),
    ) -> Program:
        """Compile with XLA for what is not here, over a mesh of all its devices where the plan says dp."""
        from hal.backends.jax import build

        _bound_ops(None)  # from now on hal.ops serves what is traced
        with self.settings(plan, target):
            return build.build_for(
                _with_algorithms(fn, plan), arguments, targets.parse(target.kind), plan, donate=donate
            )

    def export_program(self, to: str, exported: ExportedFunction) -> dict[str, bytes]:
        """StableHLO with the weights; see :mod:`hal.backends.jax.exporting`."""
        from hal.backends.jax.exporting import exported_files

        return exported_files(exported)

    def load_program(
        self, to: str, files: Mapping[str, bytes]
    ) -> Callable[[Mapping[str, np.ndarray]], np.ndarray] | None:
        """What jax.export wrote."""
        from hal.backends.jax.exporting import loaded_program

        return loaded_program(files)

    def optimizer(self, name: str, hyper: Mapping[str, float]) -> Optimizer:
        """Optax's optimizers behind the functional face."""
        from hal.backends.jax.optimizers import optax_optimizer

        return optax_optimizer(name, hyper)

    def rng(self, seed: int, device: Device) -> Array:
        """One of JAX's own keys."""
        import jax

        key = jax.random.key(np.uint32(seed & 0xFFFFFFFF))
        return jax.random.fold_in(key, seed >> 32) if seed >> 32 else key

    def from_dlpack(self, array: Any, device: Device) -> Array:
        """Take over an array of another framework without a copy."""
        import jax

        with jax.enable_x64(True):
            return jax.numpy.from_dlpack(array)

    @contextlib.contextmanager
    def settings(self, plan: Plan, device: Device) -> Iterator[None]:
        """Keep 64-bit types, and compute products as the precision says."""
        import jax

        with jax.enable_x64(True), jax.default_matmul_precision(_PRODUCTS.get(plan.precision, "default")):
            yield

    def synchronize(self, device: Device) -> None:
        """Wait for every array that is alive; JAX has no other word for it."""
        import jax

        runtime: Any = jax
        runtime.block_until_ready(runtime.live_arrays(self._found[device].platform))

    def memory(self, device: Device) -> MemoryUse:
        """What JAX's allocator holds; for the processor, which has none, resident memory of this process."""
        stats = self._found[device].memory_stats()
        if stats is None:
            return resident_memory()
        peak = stats.get("peak_bytes_in_use")
        # The counter runs from the start of the process: a peak that was there before says nothing of what came since.
        known = peak is not None and peak > self._peaks_before.get(device, 0)
        return MemoryUse(stats.get("bytes_in_use"), peak if known else None)

    def reset_peak_memory(self, device: Device) -> None:
        """Start a new peak; on accelerators, where JAX has no way to, it is unknown until it exceeds the last one."""
        if self._found[device].platform == "cpu":
            forget_peak()
        elif (stats := self._found[device].memory_stats()) is not None:
            self._peaks_before[device] = stats.get("peak_bytes_in_use", 0)

    def telemetry(self, device: Device) -> Telemetry:
        """The processor's counters; JAX reads none of an accelerator."""
        return self._counters.read() if self._found[device].platform == "cpu" else Telemetry()

    def peaks(self, device: Device) -> Mapping[str, float]:
        """What the vector units of the host's cores can do, where they are known; nothing of an accelerator."""
        if self._found[device].platform != "cpu":
            return {}
        counters = self._counters.read()
        return host_peaks(read_host(), counters.clock_max_mhz or counters.clock_mhz)

    @functools.cached_property
    def _peaks_before(self) -> dict[Device, int]:
        """The peak of each accelerator at the last :meth:`reset_peak_memory`."""
        return {}

    @functools.cached_property
    def _counters(self) -> CpuReader:
        return CpuReader()

    def classify(self, error: BaseException) -> HalError | None:
        """Name JAX's errors by their status code."""
        import jax

        if isinstance(error, MemoryError):
            return OutOfMemoryError(f"{self.name} ran out of memory", fix=_LESS)
        if not isinstance(error, jax.errors.JaxRuntimeError):
            return None
        said = first_line(error)
        kind = _CODES.get(said.partition(":")[0])
        if kind is OutOfMemoryError:
            return OutOfMemoryError(f"{self.name} ran out of memory: {said}", fix=_LESS)
        return None if kind is None else kind(f"{self.name} failed: {said}", fix="run: hal devices")

    def clear_caches(self, device: Device) -> None:
        """Drop compiled programs."""
        import jax

        clear: Any = jax.clear_caches
        clear()

    def native_code(self, plan: Plan, device: Device, mode: str = "train", inputs: Sequence[str] = ()) -> str:
        """Lines of plain JAX."""
        return native_code(plan, mode)

    def versions(self) -> dict[str, str]:
        """JAX and what it compiles with."""
        return {package: metadata.version(package) for package in ("jax", "jaxlib", "optax")}


class TpuBackend(JaxBackend):
    """The TPUs among JAX's devices, under a name of their own: ``tpu:0``."""

    name: ClassVar[str] = "tpu"
    priority: ClassVar[int] = 20
    platforms: ClassVar[tuple[str, ...] | None] = ("tpu",)

    def probe(self) -> Available | Unavailable:
        """Whether JAX has a TPU."""
        state = super().probe()
        if isinstance(state, Available) and "tpu" not in start().platforms:
            return Unavailable(
                f"{state.detail} finds no TPU on this machine",
                "on a machine with a TPU, run: pip install 'jax[tpu]'. "
                "To compile for a TPU that is not in this machine, run: hal compile model=cnn target=tpu-v5e:2x2",
            )
        return state


_LESS = "use a smaller batch=, or split the batch with accumulate="


def _with_algorithms(fn: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    from hal.backends.jax.algorithms import under

    return under(plan, fn)


@functools.cache
def _bound_ops(device: Any) -> JaxOps:
    from hal.backends.jax.ops import JaxOps

    return JaxOps(device)
