"""Ops that draw random numbers. A key is passed explicitly, split or folded, and used once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.errors import ShapeError
from hal.tensor.ops.arrays import Arrays
from hal.types import Array

__all__ = ["Random"]


class Random(Arrays):
    """Keys and what is drawn with them. By default NumPy draws on the host (Philox; Salmon et al., SC 2011)."""

    def fold_in(self, key: Any, data: int) -> Any:
        """A new random key, determined by a key and a number.

        Args:
            key: from the backend's ``rng`` or from this function.
            data: any integer that is not negative, such as the count of a step.
        """
        return self._fold_in(key, data)

    def _fold_in(self, key: Any, data: int) -> Any:
        return key.fold_in(data)

    def split_key(self, key: Any, count: int = 2) -> Sequence[Any]:
        """Independent new random keys.

        Args:
            key: not to be used again.
            count: how many.
        """
        return self._split_key(key, count)

    def _split_key(self, key: Any, count: int) -> Sequence[Any]:
        keys: Sequence[Any] = key.split(count)
        return keys

    def uniform(self, key: Any, shape: Sequence[int], *, like: Array) -> Array:
        """Numbers from [0, 1), equally likely.

        Args:
            key: determines the numbers.
            shape: of the result.
            like: gives the dtype and the device.
        """
        return self._uniform(key, tuple(shape), like)

    def _uniform(self, key: Any, shape: tuple[int, ...], like: Array) -> Array:
        return self._from_host(key.drawn(lambda whole: _generator(key).random(whole, dtype=np.float32), shape), like)

    def normal(self, key: Any, shape: Sequence[int], *, like: Array) -> Array:
        """Numbers of the standard normal distribution: mean 0, variance 1.

        Args:
            key: determines the numbers.
            shape: of the result.
            like: gives the dtype and the device.
        """
        return self._normal(key, tuple(shape), like)

    def _normal(self, key: Any, shape: tuple[int, ...], like: Array) -> Array:
        drawn = key.drawn(lambda whole: _generator(key).standard_normal(whole, dtype=np.float32), shape)
        return self._from_host(drawn, like)

    def _from_host(self, drawn: np.ndarray, like: Array) -> Array:
        return self.cast(self.standard.asarray(drawn, **self._placed(like)), like.dtype)

    def dropout(self, x: Array, rate: float, key: Any) -> Array:
        """Zero a share of the values and scale the others by 1 / (1 - rate) (Srivastava et al., JMLR 2014).

        Args:
            x: any shape.
            rate: the share, in [0, 1).
            key: determines which values.

        Returns:
            The same shape and dtype.

        Raises:
            ShapeError: rate is not in [0, 1).
        """
        if not 0 <= rate < 1:
            raise ShapeError(f"dropout was given rate={rate}, but the rate must be at least 0 and less than 1")
        return x if rate == 0 else self._dropout(x, rate, key)

    def _dropout(self, x: Array, rate: float, key: Any) -> Array:
        keep = self.uniform(key, x.shape, like=x) >= rate
        return self.standard.where(keep, x / (1 - rate), self.zeros_as(x.shape, like=x))


def _generator(key: Any) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key.seed))
