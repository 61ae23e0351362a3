"""Functions of many arrays at once, which a backend may run in fewer kernels than one for each array."""

from __future__ import annotations

from collections.abc import Sequence

from hal.tensor.dispatch import namespace
from hal.types import Array

__all__ = ["cast_each", "clip_norm"]


def cast_each(arrays: Sequence[Array], dtype: str) -> list[Array]:
    """The same values in another dtype; gradients flow back through it.

    Args:
        arrays: any shapes.
        dtype: as the standard names it, for example ``bfloat16``.
    """
    if not arrays:
        return []
    ops = namespace(arrays[0])
    return ops._cast_each(arrays, getattr(ops, dtype))


def clip_norm(arrays: Sequence[Array], largest: float) -> list[Array]:
    """Arrays scaled so that their norm, as one vector, is at most a number.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", arXiv 1211.5063.

    Args:
        arrays: floating, any shapes; they are not changed.
        largest: norm, above 0.
    """
    return namespace(arrays[0])._clip_norm(arrays, largest) if arrays else []
