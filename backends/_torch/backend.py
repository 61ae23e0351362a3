"""The contract on PyTorch, for any device type that PyTorch drives. A vendor adds probe, devices and telemetry."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import optree

from hal.backends._torch.build import Build, read_build
from hal.backends._torch.caches import forget_compiled
from hal.backends._torch.copies import CopyStream, copying_ahead
from hal.backends._torch.native_code import native_code
from hal.contract import ExportedFunction, ExportsPrograms, Group, MeasuresDevices, MemoryUse, SpreadsOver
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.errors import HalError, UnavailableError, UnsupportedError
from hal.tensor.dispatch import namespace, serving
from hal.types import Array, Tree
from hal.util.readahead import read_ahead

if TYPE_CHECKING:
    import torch

    from hal.backends._torch.ops import TorchOps
    from hal.contract.counters import Load
    from hal.tensor.optimizers import Optimizer

__all__ = ["TorchBackend"]

# Storage orders, as permutations of the logical axes, that PyTorch's kernels take without a copy.
_STORAGE: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("NHWC", "nchw"): (0, 3, 1, 2),
    ("NCHW", "nhwc"): (0, 2, 3, 1),
    ("OIHW", "nhwc"): (0, 2, 3, 1),
    ("HWIO", "nchw"): (3, 2, 0, 1),
    ("HWIO", "nhwc"): (3, 0, 1, 2),
    ("HWIO_transpose", "nchw"): (2, 3, 0, 1),
    ("HWIO_transpose", "nhwc"): (2, 0, 1, 3),
    ("IO", "nchw"): (1, 0),
    ("IO", "nhwc"): (1, 0),
}


class TorchBackend(SpreadsOver, MeasuresDevices, ExportsPrograms):
    """What all backends on PyTorch share. ``device_type`` is PyTorch's word for the device."""

    device_type: ClassVar[str]
    convolutions: ClassVar[str] = "cudnn"
    """PyTorch's word for the library of convolutions, in ``torch.backends``."""

    framework: ClassVar[str] = "torch"
    compiles_gradients: ClassVar[bool] = True
    copies_ahead: ClassVar[bool] = True
    export_formats: ClassVar[tuple[str, ...]] = ("onnx", "torch")

    _usual_threads: int | None = None
    """What the user's process computes with, while a plan is applied."""

    @functools.cached_property
    def _build(self) -> Build | None:
        """The PyTorch that is installed; None: none is."""
        return read_build()

    def _torch_device(self, device: Device) -> torch.device:
        import torch

        return torch.device("cpu") if self.device_type == "cpu" else torch.device(self.device_type, device.index)

    def processes(self, plan: Plan) -> int:
        """One for each device."""
        return math.prod(plan.spread().values())

    def local_device(self, device: Device, plan: Plan, local_rank: int) -> Device:
        """The processor, or the card of that number among those like the first."""
        if self.device_type == "cpu":
            cores = device.compute_units or 1
            if local_rank >= cores:
                raise UnavailableError(
                    f"parallel={plan.parallel} needs one core per process, but {device} has only {cores}",
                    fix=f"use {cores} processes or fewer",
                )
            return device
        alike = [each for each in self.devices() if (each.name, each.arch) == (device.name, device.arch)]
        ordered = [device, *(each for each in alike if each != device)]
        if local_rank >= len(ordered):
            raise UnavailableError(
                f"parallel={plan.parallel} needs one GPU per process, but this machine has only {len(ordered)} of the "
                f"kind of {device} ({device.name})",
                fix=f"use {len(ordered)} processes or fewer, or start hal on several machines with torchrun",
            )
        return ordered[local_rank]

    def group(self, device: Device, plan: Plan) -> Group:
        """The device alone, or this process among those that the plan spreads over."""
        if self.processes(plan) == 1:
            return Group(self, device)
        from hal.backends._torch.group import group_of

        self.ops(device)
        return group_of(self, device, plan)

    def join(self, device: Device, plan: Plan) -> None:
        """Meet by gloo, and for cards by the vendor's library too."""
        import torch

        from hal.backends._torch.meeting import meet

        meet(torch.device(self.device_type, device.index))

    def ops(self, device: Device) -> TorchOps:
        """The neutral tensor API bound to a device."""
        return _bound_ops(self._torch_device(device))

    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> torch.Tensor:
        """Copy a NumPy array to the device; see :meth:`hal.contract.Backend.from_host`."""
        import torch

        self.ops(device)  # from now on hal.ops serves tensors
        order = _STORAGE.get((axes, layout)) if array.size else None
        stored = array if order is None else array.transpose(order)
        host = torch.empty(stored.shape, dtype=_dtype(array.dtype), pin_memory=copying_ahead())
        np.copyto(host.numpy(), stored)
        # Without streams the copy has to be over before the host's memory is given back.
        tensor = host.to(self._torch_device(device), non_blocking=self.copies_ahead)
        return tensor if order is None else tensor.permute(tuple(np.argsort(order).tolist()))

    def to_host(self, array: torch.Tensor) -> np.ndarray:
        """Wait for an array and copy it to NumPy."""
        import torch

        host = array.detach().to("cpu")
        host = host.float() if host.dtype == torch.bfloat16 else host
        return np.array(host.numpy(), order="C", copy=True)

    def value_and_grad(
        self, fn: Callable[..., tuple[Array, Tree]], plan: Plan | None = None
    ) -> Callable[..., tuple[tuple[Array, Tree], Tree]]:
        """Differentiate with autograd; the function is compiled as the plan says, its backward pass with it."""
        import torch

        function = fn if plan is None else self.compile(fn, plan)

        def differentiate(params: Tree, *args: Any) -> tuple[tuple[Array, Tree], Tree]:
            leaves, structure = optree.tree_flatten(params)
            tracked = [leaf.detach().requires_grad_() for leaf in leaves]
            with torch.enable_grad():
                loss, aux = function(structure.unflatten(tracked), *args)
                gradients = (
                    torch.autograd.grad(loss, tracked, materialize_grads=True)
                    if loss.requires_grad
                    else [torch.zeros_like(leaf) for leaf in leaves]  # no parameter takes part
                )
            return (loss.detach(), self.constant(aux)), structure.unflatten(gradients)

        return differentiate

    @staticmethod
    def constant(tree: Tree) -> Tree:
        """Results that no gradient flows into any more."""
        return _constant(tree)

    def compile(self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Compile with TorchInductor."""
        if plan.compile == "eager":
            return fn
        from hal.backends._torch.compiling import compiled

        return compiled(fn, plan.compile)

    def replay(
        self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = (), hold: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        """Record the function's kernels as a graph."""
        if plan.launch != "graph":
            return fn
        from hal.backends._torch.replay import Replayed

        return Replayed(fn, donate, hold)

    def optimizer(self, name: str, hyper: Mapping[str, float]) -> Optimizer:
        """PyTorch's fused optimizers behind the functional face."""
        from hal.backends._torch.optimizers import torch_optimizer

        return torch_optimizer(name, hyper)

    def unscale(self, grads: Tree, factor: torch.Tensor) -> tuple[Tree, torch.Tensor]:
        """Divide gradients by the loss scale, with kernels that take all of them at once."""
        from hal.backends._torch.gradients import unscale

        return unscale(grads, factor)

    def prefetch(
        self,
        batches: Iterable[Mapping[str, np.ndarray]],
        put: Callable[[Mapping[str, np.ndarray]], Tree],
        device: Device,
    ) -> Generator[Tree, None, None]:
        """Read and copy the next batches in a thread, on a stream of their own where the device has streams."""
        copies = CopyStream(self._torch_device(device) if self.copies_ahead else None)
        with contextlib.closing(read_ahead(batches, lambda batch: copies.run(put, batch))) as ready:
            yield from map(copies.receive, ready)

    def from_dlpack(self, array: Any, device: Device) -> torch.Tensor:
        """Take over an array of another framework without a copy."""
        from torch.utils.dlpack import from_dlpack

        return from_dlpack(array)

    @contextlib.contextmanager
    def settings(self, plan: Plan, device: Device) -> Iterator[None]:
        """Set thread count, TF32 and algorithms as the plan says; restore them.

        Processes on one processor share its cores.
        """
        import torch

        before_threads = torch.get_num_threads()
        outermost = self._usual_threads is None
        usual = before_threads if self._usual_threads is None else self._usual_threads
        self._usual_threads, threads = usual, plan.threads or usual
        if plan.threads is None and self.processes(plan) > 1 and self.device_type == "cpu":
            threads = max(1, (device.compute_units or 1) // _local_processes(plan, self.processes(plan)))
        from hal.backends._torch.algorithms import under

        try:
            if threads != before_threads:
                torch.set_num_threads(threads)
            with self._shared(plan), under(plan), self._on(device, plan), _search(plan):
                yield
        finally:
            if torch.get_num_threads() != before_threads:
                torch.set_num_threads(before_threads)
            if outermost:
                self._usual_threads = None

    @contextlib.contextmanager
    def _on(self, device: Device, plan: Plan) -> Iterator[None]:
        """Where the device is an accelerator, make it the one that code which names none uses, and set its switches."""
        if self.device_type == "cpu":
            yield
            return
        import torch

        from hal.backends._torch.corrections import corrected
        from hal.backends._torch.switches import switched

        with torch.accelerator.device_index(device.index), switched(plan), corrected():
            yield

    @contextlib.contextmanager
    def _shared(self, plan: Plan) -> Iterator[None]:
        """Let ops of the whole batch ask the other processes, where a plan has any, and only there."""
        import torch

        from hal.backends._torch.ops import TorchOps

        many, tensor = self.processes(plan) > 1, torch.empty(0)
        serves = namespace(tensor)
        if not many:
            # Within another plan that has other processes, this one is alone.
            alone = isinstance(serves, TorchOps) and serves.shares
            with serving(tensor, TorchOps()) if alone else contextlib.nullcontext():
                yield
            return
        from hal.backends._torch.shared_ops import SharedOps

        with serving(tensor, SharedOps()), warnings.catch_warnings():
            # Said of axes of one element, whose stride means nothing.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield

    def synchronize(self, device: Device) -> None:
        """Wait for the device; the CPU is never ahead."""
        if self.device_type != "cpu":
            import torch

            torch.accelerator.synchronize(device.index)

    def clear_caches(self, device: Device) -> None:
        """Drop compiled code and cached memory."""
        forget_compiled()
        if self.device_type != "cpu":
            import torch

            torch.accelerator.memory.empty_cache()
            # The memory for copies; older versions of PyTorch have it under another name.
            empty = getattr(torch.accelerator.memory, "empty_host_cache", None)
            empty = empty or getattr(torch._C, "_host_emptyCache", None)
            if empty is not None:
                empty()

    def native_code(self, plan: Plan, device: Device, mode: str = "train", inputs: Sequence[str] = ()) -> str:
        """Lines of plain PyTorch."""
        index = device.index if device else 0
        return native_code(plan, self.device_type, mode, index, self.convolutions, inputs)

    def export_program(self, to: str, exported: ExportedFunction) -> dict[str, bytes]:
        """ONNX or a program of torch.export; see :mod:`hal.backends._torch.exporting`."""
        from hal.backends._torch.exporting import exported_files

        return exported_files(to, exported)

    def load_program(
        self, to: str, files: Mapping[str, bytes]
    ) -> Callable[[Mapping[str, np.ndarray]], np.ndarray] | None:
        """What torch.export wrote; ONNX is run by another runtime."""
        from hal.backends._torch.exporting import loaded_program

        return loaded_program(files) if to == "torch" else None

    def memory(self, device: Device) -> MemoryUse:
        """What PyTorch's allocator holds; the peak is what it had reserved, gaps and private pools included.

        That is what has to fit. The context and the buffers of the library that exchanges between GPUs come on top.
        """
        import torch

        counters = torch.accelerator.memory
        return MemoryUse(counters.memory_allocated(device.index), counters.max_memory_reserved(device.index))

    def reset_peak_memory(self, device: Device) -> None:
        """Start a new peak: what is reserved and not used any more is given back first."""
        import torch

        torch.accelerator.memory.empty_cache()
        torch.accelerator.memory.reset_peak_memory_stats(device.index)

    def loads(self, device: Device) -> tuple[Load, ...]:
        """Products in 8 bits and copies of page-locked memory, on accelerators."""
        if self.device_type == "cpu":
            return ()
        from hal.backends._torch.loads import accelerator_loads

        return accelerator_loads(self._torch_device(device), device.facts.get("fp8", ""))

    def classify(self, error: BaseException) -> HalError | None:
        """Name PyTorch's exceptions."""
        from hal.backends._torch.errors import classify

        return classify(error, self.name)

    def versions(self) -> dict[str, str]:
        """PyTorch and the runtime that it was built for."""
        import torch

        build = {"torch": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip}
        return {name: str(version) for name, version in build.items() if version}


def _search(plan: Plan) -> contextlib.AbstractContextManager[None]:
    """How the compiler searches for kernels, where the plan lets it."""
    if plan.compile != "max":
        return contextlib.nullcontext()
    from hal.backends._torch.compiling import quietly

    return quietly()


@functools.cache
def _bound_ops(device: torch.device) -> TorchOps:
    from hal.backends._torch.ops import TorchOps

    return TorchOps(device)


def _local_processes(plan: Plan, count: int) -> int:
    """How many of a plan's processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count))


def _dtype(dtype: np.dtype[Any]) -> torch.dtype:
    import torch

    try:
        return torch.from_numpy(np.empty((0,), dtype)).dtype
    except TypeError as error:
        raise UnsupportedError(f"torch has no dtype {dtype}") from error


def _constant(tree: Tree) -> Tree:
    """Results that no gradient flows into any more."""
    import torch

    if isinstance(tree, torch.Tensor):
        return tree.detach() if tree.requires_grad else tree
    if type(tree) is tuple:
        return tuple(_constant(child) for child in tree)
    if type(tree) is dict:
        return {name: _constant(child) for name, child in tree.items()}
    return optree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, tree)
