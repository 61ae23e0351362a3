"""The contract on NumPy arrays."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from hal.contract import Available, Backend, Unavailable
from hal.contract.device import PRECISIONS, Capabilities, Device, Precision
from hal.errors import HalError, OutOfMemoryError
from hal.types import Tree

if TYPE_CHECKING:
    from hal.contract.plan import Plan
    from hal_toy.ops import ToyOps

__all__ = ["ToyBackend"]


class ToyBackend(Backend):
    """The host's processor through NumPy."""

    name = "toy"
    # It is slow: taken only by name.
    priority = -1

    def probe(self) -> Available | Unavailable:
        """Whether autograd is installed."""
        try:
            return Available(f"autograd {importlib.metadata.version('autograd')}, numpy {np.__version__}")
        except importlib.metadata.PackageNotFoundError:
            return Unavailable("autograd is not installed", "run: pip install autograd")

    def devices(self) -> list[Device]:
        """The processor."""
        precisions = {name: Precision(supported=False, note="NumPy has no kernels for it") for name in PRECISIONS}
        capabilities = Capabilities({**precisions, "fp32": Precision(supported=True)})
        arch = platform.machine() or "unknown"
        return [
            Device(
                backend="toy",
                index=0,
                vendor="NumPy",
                name="processor",
                arch=arch,
                memory_bytes=None,
                compute_units=None,
                capabilities=capabilities,
            )
        ]

    def ops(self, device: Device) -> ToyOps:
        """The neutral tensor API."""
        return _ops()

    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> np.ndarray:
        """The array itself."""
        return array

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """A copy."""
        return np.array(array, order="C", copy=True)

    def value_and_grad(
        self, fn: Callable[..., tuple[Any, Tree]], plan: Plan | None = None
    ) -> Callable[..., tuple[tuple[Any, Tree], Tree]]:
        """Differentiate with autograd's tape."""
        from autograd.core import make_vjp

        from hal_toy.ops import detach

        def differentiate(params: Tree, *args: Any) -> tuple[tuple[Any, Tree], Tree]:
            leaves, structure = optree.tree_flatten(optree.tree_map(detach, params))
            kept = []

            def loss(boxes: Any) -> Any:
                value, aux = fn(structure.unflatten(list(boxes)), *args)
                kept.append(optree.tree_map(detach, aux))
                return value

            backward, value = make_vjp(loss, tuple(leaves))
            # autograd widens some gradients to float64; a gradient has the dtype of its parameter.
            gradients = [np.asarray(g, p.dtype) for g, p in zip(backward(np.float32(1)), leaves, strict=True)]
            return (detach(value), kept[0]), structure.unflatten(gradients)

        return differentiate

    def classify(self, error: BaseException) -> HalError | None:
        """NumPy raises Python's own MemoryError."""
        if isinstance(error, MemoryError):
            return OutOfMemoryError(f"NumPy ran out of memory: {error}", fix="use a smaller batch=")
        return None

    def versions(self) -> dict[str, str]:
        """NumPy and autograd."""
        return {"numpy": np.__version__, "autograd": importlib.metadata.version("autograd")}


@functools.cache
def _ops() -> ToyOps:
    from hal_toy.ops import ToyOps

    return ToyOps()
