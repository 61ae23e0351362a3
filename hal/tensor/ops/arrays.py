"""Ops that every other family uses: differentiation, control, arrays in the likeness of another, dtypes."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

from hal.errors import UnsupportedError
from hal.tensor.ops.namespace import Namespace
from hal.types import Array, Tree

__all__ = ["Arrays"]


class Arrays(Namespace, abc.ABC):
    """What the standard lacks to write the other families in."""

    def stop_gradient(self, x: Array) -> Array:
        """The same values, as a constant for differentiation.

        Args:
            x: any shape.

        Returns:
            The same shape and dtype.
        """
        return self._stop_gradient(x)

    @abc.abstractmethod
    def _stop_gradient(self, x: Array) -> Array: ...

    def scan(self, fn: Callable[[Tree, Tree], tuple[Tree, Array]], init: Tree, xs: Array) -> tuple[Tree, Array]:
        """Carry a value through a sequence: ``carry, y = fn(carry, x)`` for each x along the first axis.

        Args:
            fn: one step; takes a carry and x (...) and returns the next carry, of the same shapes, and y.
            init: the first carry.
            xs: (steps, ...) with at least one step.

        Returns:
            The last carry and the ys, stacked along the first axis: (steps, ...).
        """
        return self._scan(fn, init, xs)

    def _scan(self, fn: Callable[[Tree, Tree], tuple[Tree, Array]], init: Tree, xs: Array) -> tuple[Tree, Array]:
        carry, ys = init, []
        for x in self.standard.unstack(xs, axis=0):
            carry, y = fn(carry, x)
            ys.append(y)
        return carry, self.standard.stack(ys, axis=0)

    def filled(self, shape: Sequence[int], value: float, *, like: Array) -> Array:
        """An array of one value.

        Args:
            shape: of the result.
            value: of every element.
            like: gives the dtype and the device.
        """
        return self._filled(tuple(shape), value, like)

    def _filled(self, shape: tuple[int, ...], value: float, like: Array) -> Array:
        return self.standard.full(shape, value, dtype=like.dtype, **self._placed(like))

    def zeros_as(self, shape: Sequence[int], *, like: Array) -> Array:
        """Zeros.

        Args:
            shape: of the result.
            like: gives the dtype and the device.
        """
        return self._zeros_as(tuple(shape), like)

    def _zeros_as(self, shape: tuple[int, ...], like: Array) -> Array:
        return self._filled(shape, 0.0, like)

    def positions(self, count: int, *, like: Array) -> Array:
        """The integers from 0 to below a count, in the standard's default dtype.

        Args:
            count: how many.
            like: gives the device.

        Returns:
            (count,).
        """
        return self._positions(count, like)

    def _positions(self, count: int, like: Array) -> Array:
        return self.standard.arange(count, **self._placed(like))

    def cast(self, x: Array, dtype: Any) -> Array:
        """The same values in another dtype; x itself where it has that dtype already.

        Args:
            x: any shape.
            dtype: of the backend.

        Returns:
            The same shape.
        """
        return self._cast(x, dtype)

    def _cast(self, x: Array, dtype: Any) -> Array:
        return x if x.dtype == dtype else self.standard.astype(x, dtype)

    # Hooks of hal.tensor.many

    def _cast_each(self, arrays: Sequence[Array], dtype: Any) -> list[Array]:
        return [self._cast(x, dtype) for x in arrays]

    def _clip_norm(self, arrays: Sequence[Array], largest: float) -> list[Array]:
        squares = [self.standard.sum(self.standard.square(x)) for x in arrays]
        norm = self.standard.sqrt(sum(squares[1:], squares[0]))
        factor = self.standard.minimum(largest / (norm + 1e-12), self.standard.ones_like(norm))
        return [x * factor for x in arrays]

    def _wide(self, x: Array) -> Array:
        """Fp32, unless it is float64 already."""
        return x if x.dtype == self.standard.float64 else self.cast(x, self.standard.float32)

    def _check_dtypes(
        self, op: str, x: Array, given: Sequence[tuple[str, Array | None]], *, wide: bool = False
    ) -> None:
        """Refuse arrays of another dtype than x, which some frameworks promote, some narrow and some refuse.

        Args:
            op: for the message.
            x: gives the dtype.
            given: names and arrays.
            wide: whether the others may all be fp32 where x is narrower.
        """
        dtypes = [array.dtype for _, array in given if array is not None]
        if all(dtype == x.dtype for dtype in dtypes):
            return
        narrower = wide and x.dtype != self.standard.float64
        if narrower and all(dtype == self.standard.float32 for dtype in dtypes):
            return
        others = ", ".join(f"{name} of {array.dtype}" for name, array in given if array is not None)
        raise UnsupportedError(
            f"{op} was given x of dtype {x.dtype} with {others}", fix="cast them to one dtype, as layers do"
        )

    def _check_integers(self, op: str, given: Sequence[tuple[str, Array]]) -> None:
        """Refuse indices that are not integers.

        Args:
            op: for the message.
            given: names and arrays.
        """
        for name, array in given:
            if not self.standard.isdtype(array.dtype, "integral"):
                raise UnsupportedError(
                    f"{op} was given {name} of dtype {array.dtype}, but {name} must be integers",
                    fix="cast them to integers; a mask of booleans is applied with where",
                )
