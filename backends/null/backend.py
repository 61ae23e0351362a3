"""The contract with shapes only: what a vendor's backend.py has to say, each part as short as it can be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NoReturn, cast

import numpy as np
import optree

from hal.backends._traced.dtypes import as_dtype
from hal.backends.null.array import NullArray
from hal.backends.null.cost import PROCESS, Cost, Storage, count, see
from hal.backends.null.device import DEVICE
from hal.backends.null.ops import NullOps
from hal.backends.null.tape import Node, Spec, unwind
from hal.contract import Available, CountsCosts, MemoryUse
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.errors import HalError, ShapeError, UnsupportedError
from hal.tensor import register
from hal.types import Tree

__all__ = ["NullBackend"]

_OPS = NullOps()
register(NullArray, _OPS)


class NullBackend(CountsCosts):
    """Runs any model without numbers: shapes, costs and live memory."""

    name: ClassVar[str] = "null"
    priority: ClassVar[int] = -1

    def probe(self) -> Available:
        """Always here."""
        return Available("computes only shapes and costs, no values")

    def devices(self) -> list[Device]:
        """One device that takes every plan of one process."""
        return [DEVICE]

    def ops(self, device: Device) -> NullOps:
        """The same object each time."""
        return _OPS

    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> NullArray:
        """The array's shape and type; axes and layout change neither."""
        return NullArray(Spec(tuple(array.shape), as_dtype(array.dtype)))

    def to_host(self, array: NullArray) -> NoReturn:
        """Not possible.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            f"the values of {array!r} were asked for, but the null backend computes only shapes",
            fix="use another backend to compute values; backend=null computes shapes and costs",
        )

    def value_and_grad(
        self, fn: Callable[..., tuple[NullArray, Tree]], plan: Plan | None = None
    ) -> Callable[..., tuple[tuple[NullArray, Tree], Tree]]:
        """Runs fn with what a backward pass would keep, then unwinds it; see :mod:`hal.backends.null.tape`."""

        @functools.wraps(fn)
        def run(params: Tree, *args: Any) -> tuple[tuple[NullArray, Tree], Tree]:
            leaves, structure = optree.tree_flatten(params)
            traced = [_leaf(p) for p in leaves]
            for array in optree.tree_leaves(cast("Any", args)):
                if isinstance(array, NullArray):
                    see(array.storage)
            loss, aux = fn(structure.unflatten(traced), *args)
            gradients = _gradients(loss, traced)
            return (loss.detached(), optree.tree_map(_detached, aux)), structure.unflatten(gradients)

        return run

    def classify(self, error: BaseException) -> HalError | None:
        """None: there is no framework whose errors could be known."""
        return None

    def compile(self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Returns fn: what is counted is what it says, not what a compiler would make of it."""
        return fn

    def count(self) -> AbstractContextManager[Cost]:
        """FLOPs, bytes moved and live memory of the ops that run meanwhile in this thread."""
        return count()

    def memory(self, device: Device) -> MemoryUse:
        """Live memory of all arrays of this process."""
        return MemoryUse(PROCESS.live, PROCESS.peak)

    def reset_peak_memory(self, device: Device) -> None:
        """Start a new peak."""
        PROCESS.restart()


def _leaf(param: Any) -> NullArray:
    if not isinstance(param, NullArray) or param.dtype.kind not in "fc":
        raise UnsupportedError(
            f"cannot differentiate with respect to {param!r}",
            fix="make every parameter a floating-point array of this backend",
        )
    see(param.storage)
    return NullArray(param.spec, param.storage, Node())


def _gradients(loss: Any, traced: list[NullArray]) -> list[NullArray]:
    if not isinstance(loss, NullArray) or loss.shape != () or loss.dtype.kind != "f":
        raise ShapeError(f"the loss is {loss!r}, but it must be a floating-point scalar, such as a mean over the batch")
    found: list[Storage | None] = [None] * len(traced)
    if loss.node is not None and traced:
        found = unwind(loss.node, loss.slot, loss.spec, [p.node for p in traced if p.node is not None])
    # A parameter that the loss does not depend on has a gradient of zeros.
    return [NullArray(p.spec, storage) for p, storage in zip(traced, found, strict=True)]


def _detached(x: Any) -> Any:
    return x.detached() if isinstance(x, NullArray) else x
