"""The class that arrays of a backend's own derive from: their form, and Python's operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from hal.backends._traced.dtypes import DType
from hal.errors import ShapeError

__all__ = ["SCALARS", "TracedArray"]

SCALARS = (int, float, complex, np.generic)
"""What stands beside arrays in operators: Python's numbers and NumPy's scalars."""


def _operator(name: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    def forward(self: TracedArray, other: Any) -> Any:
        return self.elementwise(name, self, other) if isinstance(other, (type(self), *SCALARS)) else NotImplemented

    def reflected(self: TracedArray, other: Any) -> Any:
        return self.elementwise(name, other, self) if isinstance(other, SCALARS) else NotImplemented

    return forward, reflected


class TracedArray:
    """Shape, type and operators. A subclass says how to index it and how an elementwise function is computed."""

    __slots__ = ("__weakref__",)
    # NumPy's scalars leave their operators to this class.
    __array_ufunc__ = None

    namespace: ClassVar[Any] = None
    """The functions of the standard on these arrays; their module sets it, since it is written on top of the class."""

    elementwise: ClassVar[Callable[..., Any]]
    """``elementwise(name, *operands)`` with arrays and scalars as operands."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        raise NotImplementedError

    @property
    def dtype(self) -> DType:
        """Data type."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """Count of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Count of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, also where the memory is shared or repeated."""
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> Any:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f".T of shape {self.shape}: the array must have two axes; use permute_dims or .mT")
        return self.mT

    @property
    def mT(self) -> Any:
        """The last two axes swapped."""
        return self.namespace.matrix_transpose(self)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.namespace

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        raise NotImplementedError

    __hash__ = object.__hash__

    def __abs__(self) -> Any:
        return self.elementwise("abs", self)

    def __neg__(self) -> Any:
        return self.elementwise("negative", self)

    def __pos__(self) -> Any:
        return self.elementwise("positive", self)

    def __invert__(self) -> Any:
        return self.elementwise("bitwise_invert", self)

    def __matmul__(self, other: Any) -> Any:
        return self.namespace.matmul(self, other) if isinstance(other, type(self)) else NotImplemented

    def __rmatmul__(self, other: Any) -> Any:
        return self.namespace.matmul(other, self) if isinstance(other, type(self)) else NotImplemented

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("divide")
    __floordiv__, __rfloordiv__ = _operator("floor_divide")
    __mod__, __rmod__ = _operator("remainder")
    __pow__, __rpow__ = _operator("pow")
    __and__, __rand__ = _operator("bitwise_and")
    __or__, __ror__ = _operator("bitwise_or")
    __xor__, __rxor__ = _operator("bitwise_xor")
    __lshift__, __rlshift__ = _operator("bitwise_left_shift")
    __rshift__, __rrshift__ = _operator("bitwise_right_shift")
    __lt__ = _operator("less")[0]
    __le__ = _operator("less_equal")[0]
    __gt__ = _operator("greater")[0]
    __ge__ = _operator("greater_equal")[0]
    __eq__ = _operator("equal")[0]
    __ne__ = _operator("not_equal")[0]
