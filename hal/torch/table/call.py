"""What an entry of the table is told besides the op's arguments, and the arithmetic of dtypes that entries share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hal import ops
from hal.errors import ConfigError
from hal.torch.node import DType, Node
from hal.types import Array

__all__ = ["EXPECTED", "Call", "axes_of", "axis_of", "is_array", "pair", "per_axis"]

EXPECTED = object()
"""In place of a random key: random numbers are their expected values, so that dropout does nothing."""

_NUMBERS = {"b": "bool", "i": "int64", "f": "float32"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an op, on a backend.

    Attributes:
        xp: the ops that serve the arrays.
        like: an array beside which new ones are made.
        node: what is called.
        random: the random key of the whole graph, or :data:`EXPECTED`, or None where none was given.
    """

    xp: Any
    like: Array
    node: Node
    random: Any

    # Dtypes

    def dtype(self, named: DType | str) -> Any:
        """The backend's dtype of a name; where it has no 64-bit numbers, the widest of the kind that it has."""
        name = named if isinstance(named, str) else named.name
        info = self.xp.__array_namespace_info__()
        if name in ("float64", "int64", "uint64") and name not in info.dtypes():
            return info.default_dtypes()["real floating" if name == "float64" else "integral"]
        return getattr(self.xp, name)

    @property
    def result(self) -> Any:
        """The dtype that the op's result had when the module was captured."""
        return self.dtype(self.node.dtype or "float32")

    def kind(self, x: Any) -> str:
        """``b`` for booleans, ``i`` for integers, ``f`` for floating-point numbers; of an array or a number."""
        if not is_array(x):
            return "b" if isinstance(x, bool) else "i" if isinstance(x, int) else "f"
        return "b" if x.dtype == self.xp.bool else "f" if self.xp.isdtype(x.dtype, "real floating") else "i"

    def promoted(self, *values: Any, floating: bool = False) -> list[Any]:
        """Arrays and numbers, with the arrays in the dtype that PyTorch's rules give for all of them.

        Arrays with axes count for more than those without, and these for more than numbers, within one kind.

        Args:
            values: arrays and numbers.
            floating: whether the result is floating-point also for integers.
        """
        kinds = [self.kind(x) for x in values]
        top = max(kinds, key="bif".index)
        top = "f" if floating else top
        arrays = [x for x, kind in zip(values, kinds, strict=True) if kind == top and is_array(x)]
        counted = [x.dtype for x in arrays if x.shape] or [x.dtype for x in arrays]
        if not counted:
            wanted = self.dtype(_NUMBERS[top])
        else:
            wanted = counted[0] if all(dtype == counted[0] for dtype in counted) else self.xp.result_type(*counted)
        return [self.cast(x, wanted) if is_array(x) else _NUMBER[top](x) for x in values]

    def cast(self, x: Array, dtype: Any) -> Array:
        """The same values in another dtype; x itself where it has that dtype already."""
        return x if x.dtype == dtype else self.xp.cast(x, dtype)

    def floating(self, x: Array) -> Array:
        """X where it is floating-point, else its values as fp32."""
        return x if self.kind(x) == "f" else self.cast(x, self.xp.float32)

    # Arrays

    @property
    def placed(self) -> dict[str, Any]:
        """Keyword arguments with which a creation function makes an array beside the others."""
        found: dict[str, Any] = self.xp._placed(self.like)
        return found

    def constant(self, values: np.ndarray, dtype: Any = None) -> Array:
        """NumPy's values as an array of the backend."""
        array = self.xp.asarray(values, **self.placed)
        return array if dtype is None else self.cast(array, dtype)

    def full(self, shape: Sequence[int], value: Any, dtype: Any) -> Array:
        """An array of one value, which is a number or an array without axes."""
        if is_array(value):
            return self.xp.broadcast_to(self.cast(value, dtype), tuple(shape))
        return self.xp.full(tuple(shape), value, dtype=dtype, **self.placed)

    def array(self, value: Any, like: Array) -> Array:
        """A number as an array without axes, of the dtype of another; an array as it is."""
        return value if is_array(value) else self.xp.filled((), value, like=like)

    # Random numbers

    @property
    def key(self) -> Any:
        """The random key of this call alone.

        Raises:
            ConfigError: the graph was given none.
        """
        if self.random is None:
            raise ConfigError(f"{self.node.op} draws random numbers, but the graph was given no random key")
        return ops.fold_in(self.random, self.node.index)

    def dropout(self, x: Array, rate: float, part: int = 0) -> Array:
        """Dropout in training, with random numbers of their own for each part of an op."""
        if self.random is EXPECTED or rate == 0:
            return x
        if rate == 1:
            return self.xp.zeros_like(x)
        return self.xp.dropout(x, rate, ops.fold_in(self.key, part))


_NUMBER = {"b": bool, "i": int, "f": float}


def is_array(x: Any) -> bool:
    """Whether a value is an array of a backend, not a number."""
    return hasattr(x, "dtype")


def axis_of(axis: int, x: Array) -> int:
    """An axis counted from the front."""
    return axis % max(len(x.shape), 1)


def axes_of(dim: int | Sequence[int] | None, x: Array) -> tuple[int, ...]:
    """Axes counted from the front; all where PyTorch's ``dim`` is None or empty."""
    if dim is None or (not isinstance(dim, int) and not dim):
        return tuple(range(len(x.shape)))
    return tuple(axis_of(axis, x) for axis in ((dim,) if isinstance(dim, int) else dim)) if x.shape else ()


def per_axis(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    """A size for each of some axes; PyTorch also gives one number for all of them, or a list of one."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * count if len(given) == 1 else given


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """A size for both axes of an image."""
    height, width = per_axis(value, 2)
    return height, width
