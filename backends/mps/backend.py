"""The contract on Apple GPUs: PyTorch's device type ``mps``, which is one device without streams."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hal.backends._torch import TorchBackend
from hal.backends._torch.caches import forget_compiled
from hal.backends._torch.fallback import no_fallback, unsupported_operation
from hal.backends._torch.wide import refuse_wide
from hal.backends.mps.decisions import availability, describe
from hal.backends.mps.errors import unsupported_type
from hal.backends.mps.host import Gpu, Host, read_gpu, read_host
from hal.contract import Available, MemoryUse, Unavailable
from hal.contract.counters import Load
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.errors import HalError
from hal.tensor.optimizers import Optimizer, neutral_optimizer

if TYPE_CHECKING:
    import torch

__all__ = ["MpsBackend"]


class MpsBackend(TorchBackend):
    """Apple GPUs through PyTorch."""

    name: ClassVar[str] = "mps"
    priority: ClassVar[int] = 10
    aliases: ClassVar[tuple[str, ...]] = ("apple", "metal", "gpu")
    device_type: ClassVar[str] = "mps"
    copies_ahead: ClassVar[bool] = False

    @functools.cached_property
    def _host(self) -> Host:
        return read_host()

    @functools.cached_property
    def _gpu(self) -> Gpu:
        if self._build is None or self._build.broken:
            return Gpu()
        import torch

        return read_gpu(torch)

    def probe(self) -> Available | Unavailable:
        """Whether the Apple GPU can be used here."""
        return availability(self._build, self._host, self._gpu, os.environ)

    def devices(self) -> list[Device]:
        """The Apple GPU."""
        return [] if isinstance(self.probe(), Unavailable) else [describe(self._host, self._gpu)]

    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> torch.Tensor:
        """Copy a NumPy array to the device, unless it is of a type that the device does not have."""
        refuse_wide(array.dtype, device)
        try:
            return super().from_host(array, device, axes=axes, layout=layout)
        except TypeError as error:
            if lacking := unsupported_type(error):
                raise lacking from error
            raise

    def optimizer(self, name: str, hyper: Mapping[str, float]) -> Optimizer:
        """PyTorch's fused optimizers, but where steps may be left out."""
        from hal.backends.mps.optimizers import FusedUnlessSkipped

        return FusedUnlessSkipped(super().optimizer(name, hyper), neutral_optimizer(name, hyper))

    @contextlib.contextmanager
    def _on(self, device: Device, plan: Plan) -> Iterator[None]:
        from hal.backends._torch.corrections import corrected

        with corrected(), no_fallback():
            yield

    def synchronize(self, device: Device) -> None:
        """Wait for the device."""
        import torch

        torch.mps.synchronize()

    def clear_caches(self, device: Device) -> None:
        """Drop compiled code and cached memory."""
        import torch

        forget_compiled()
        torch.mps.empty_cache()

    def memory(self, device: Device) -> MemoryUse:
        """What tensors hold now; PyTorch counts no peak."""
        import torch

        return MemoryUse(torch.mps.current_allocated_memory())

    def reset_peak_memory(self, device: Device) -> None:
        """There is no peak to reset."""

    def loads(self, device: Device) -> tuple[Load, ...]:
        """None: there are no products in 8 bits, and memory is shared with the host."""
        return ()

    def classify(self, error: BaseException) -> HalError | None:
        """Name PyTorch's exceptions, and what the device lacks."""
        return super().classify(error) or unsupported_operation(error, "Apple GPUs") or unsupported_type(error)

    def versions(self) -> dict[str, str]:
        """PyTorch and macOS, which Metal is a part of."""
        return {**super().versions(), **({"macos": self._host.macos} if self._host.macos else {})}
