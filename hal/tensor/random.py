"""Random keys as values: a key is split or folded on the host, and each backend draws from it in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hal.tensor.dispatch import register
from hal.types import Array

__all__ = ["Key", "Share"]

_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """SplitMix64's finalizer (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@dataclass(frozen=True, slots=True)
class Share:
    """The rows of a batch that one of several processes holds.

    Attributes:
        rank: which process.
        size: how many there are.
        rows: how many rows each holds.
        parts: the batch is taken in so many parts, and each process holds its rows of every part.
    """

    rank: int
    size: int
    rows: int
    parts: int = 1

    def of(self, whole: Array) -> Array:
        """This process's rows of the whole batch: (rows * size * k, ...) to (rows * k, ...), for any whole k."""
        count = whole.shape[0] // (self.size * self.parts)
        if self.parts == 1:
            return whole[self.rank * count : (self.rank + 1) * count, ...]
        rest = tuple(whole.shape[1:])
        mine = whole.reshape((self.parts, self.size, count, *rest))[:, self.rank, ...]
        return mine.reshape((self.parts * count, *rest))


@dataclass(frozen=True, slots=True)
class Key:
    """A random key for runtimes whose generators are seeded from the host.

    ``seed`` None stands for the runtime's ambient generator, which a backend seeds around a compiled function. With a
    ``share`` whatever is drawn for each row of a batch is drawn for the whole batch, and this process's rows are taken,
    so that all processes together draw what one would.
    """

    seed: int | None
    share: Share | None = None

    def fold_in(self, data: int) -> Key:
        """A new key, determined by this one and a number."""
        return self if self.seed is None else replace(self, seed=_mix(self.seed ^ _mix(data)))

    def drawn(self, draw: Callable[[tuple[int, ...]], Array], shape: Sequence[int]) -> Array:
        """``draw(shape)``, or this process's rows of what is drawn for the whole batch.

        A shape whose first axis is a multiple of the share's rows is of the batch; others are drawn alike by all.
        """
        share, shape = self.share, tuple(shape)
        if share is None or not shape or shape[0] == 0 or shape[0] % share.rows:
            return draw(shape)
        return share.of(draw((shape[0] * share.size, *shape[1:])))

    def split(self, count: int = 2) -> tuple[Key, ...]:
        """Independent new keys."""
        return tuple(self.fold_in(index) for index in range(count))


class _KeyOps:
    """The part of the ops that takes a key alone."""

    @staticmethod
    def fold_in(key: Key, data: int) -> Key:
        return key.fold_in(data)

    @staticmethod
    def split_key(key: Key, count: int = 2) -> tuple[Key, ...]:
        return key.split(count)


register(Key, _KeyOps())
