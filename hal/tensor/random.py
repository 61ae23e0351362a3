"""Random keys as values: a key is split or folded on the host, and each backend draws from it in its own way."""

from __future__ import annotations

from dataclasses import dataclass

from hal.tensor.dispatch import register

__all__ = ["Key"]

_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@dataclass(frozen=True, slots=True)
class Key:
    """A random key for runtimes whose generators are seeded from the host.

    ``seed`` None stands for the runtime's ambient generator, which a backend seeds around a compiled function.
    """

    seed: int | None

    def fold_in(self, data: int) -> Key:
        """A new key, determined by this one and a number."""
        return self if self.seed is None else Key(_mix(self.seed ^ _mix(data)))

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
