"""The node of the graph, which is the array that users hold: what computes it, and its memory once that has run."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from hal.backends._traced.array import TracedArray
from hal.backends._traced.dtypes import DType
from hal.contract.device import Device
from hal.errors import UnsupportedError

if TYPE_CHECKING:
    from hal.backends.opencl.storage import BaseRuntime, Storage

__all__ = ["OpenclArray"]

_DLPACK_OPENCL = 4


class OpenclArray(TracedArray):
    """An array on an OpenCL device. Nothing is computed before its values are needed.

    Attributes:
        op: what computes it: ``leaf`` for an array that is in memory already, or one of the primitives in
            :mod:`hal.backends.opencl.primitives`.
        sources: the arrays that it is computed from.
        attributes: what else the primitive needs, hashable.
        runtime: the device's.
        storage: its memory, once there is one.
        tracked: whether a derivative with respect to it may still be asked for, so that its sources are kept.
        read: whether another array was ever computed from it, outside of functions that are being traced.
        symbolic: whether it stands for an array of later calls, in a function that is being traced.
        copies: copies of it in other orders of the axes, while something reads them.
    """

    __slots__ = (
        "_dtype",
        "_shape",
        "attributes",
        "copies",
        "op",
        "read",
        "runtime",
        "sources",
        "storage",
        "symbolic",
        "tracked",
    )

    # What is written on top of this class; the modules that define them set them.
    indexed: ClassVar[Callable[..., OpenclArray]]
    fetched: ClassVar[Callable[..., np.ndarray]]
    moved: ClassVar[Callable[..., OpenclArray]]

    def __init__(
        self,
        op: str,
        sources: tuple[OpenclArray, ...],
        attributes: Any,
        shape: tuple[int, ...],
        dtype: DType,
        runtime: BaseRuntime,
        storage: Storage | None = None,
    ) -> None:
        self.op: str = op
        self.sources: tuple[OpenclArray, ...] = sources
        self.attributes: Any = attributes
        self._shape = shape
        self._dtype = dtype
        self.runtime = runtime
        self.storage: Storage | None = storage and storage.take()
        self.copies: dict[tuple[int, ...], weakref.ref[OpenclArray]] = {}
        self.tracked: bool = any(source.tracked for source in sources)
        self.symbolic: bool = op == "input" or any(source.symbolic for source in sources)
        self.read = False
        if not self.symbolic:
            for source in sources:
                source.read = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """Data type."""
        return self._dtype

    @property
    def size(self) -> int:
        """Count of elements."""
        return math.prod(self._shape)

    @property
    def device(self) -> Device:
        """Where it is."""
        return self.runtime.device

    def settle(self, storage: Storage) -> None:
        """Note the memory that the values were written to, and let go of what they were computed from."""
        self.storage = storage.take()
        if not self.tracked:
            self.op, self.sources, self.attributes = "leaf", (), None

    def give_up(self) -> None:
        """Let go of the memory, which is written to from now on, so that the values are lost."""
        assert self.storage is not None
        self.storage.give_up()
        self.storage = None
        self.op, self.sources, self.attributes = "donated", (), None

    def to_device(self, device: Any, /, *, stream: Any = None) -> OpenclArray:
        """This array on a device, copied through the host if that is another one."""
        return type(self).moved(self, device)

    def __getitem__(self, key: Any) -> OpenclArray:
        return type(self).indexed(self, key)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        host = self.host()
        return host if dtype is None else host.astype(dtype)

    def host(self) -> np.ndarray:
        """Wait for the values and copy them to the host."""
        return type(self).fetched(self)

    def item(self) -> Any:
        """The value of an array of one element."""
        return self.host().item()

    def tolist(self) -> Any:
        """The values as nested lists."""
        return self.host().tolist()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"an array of {self.dtype} cannot be an index")
        return int(self.item())

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> NoReturn:
        raise UnsupportedError(
            "memory of an OpenCL device cannot be shared by DLPack", fix="copy the array to the host with to_host"
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        """Kind and number of the device, as DLPack counts them."""
        return _DLPACK_OPENCL, self.device.index
