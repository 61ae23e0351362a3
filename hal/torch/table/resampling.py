"""Padding and resampling of images, sequences and volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hal.torch.table.call import Call
from hal.torch.table.entries import op, unsupported
from hal.torch.table.shapes import sliced
from hal.types import Array

__all__: list[str] = []


@op("pad")
def _pad(c: Call, x: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Array:
    if mode == "constant":
        return _constant_pad(c, x, pad, value or 0)
    if mode not in _EDGES:
        raise unsupported(f"padding with mode={mode!r}")
    for axis, (before, after) in _pads(x, pad):
        x = sliced(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0))
        size = x.shape[axis]
        places = _EDGES[mode](np.arange(-max(before, 0), size + max(after, 0)), size)
        x = c.xp.take(x, c.constant(places), axis=axis)
    return x


_EDGES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "replicate": lambda at, size: np.clip(at, 0, size - 1),
    "circular": lambda at, size: at % size,
    "reflect": lambda at, size: size - 1 - np.abs(size - 1 - np.abs(at)),
}


def _pads(x: Array, pad: Sequence[int]) -> list[tuple[int, tuple[int, int]]]:
    """Each axis with what goes before and after it; PyTorch lists the last axis first."""
    found = [(len(x.shape) - 1 - at, (pad[2 * at], pad[2 * at + 1])) for at in range(len(pad) // 2)]
    return [(axis, sizes) for axis, sizes in found if any(sizes)]


@op("constant_pad_nd")
def _constant_pad(c: Call, x: Array, pad: Sequence[int], value: Any = 0) -> Array:
    for axis, (before, after) in _pads(x, pad):
        x = sliced(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0))
        edges = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in (before, after)]
        first, last = (c.xp.filled(edge, value, like=x) if edge[axis] > 0 else None for edge in edges)
        parts = [part for part in (first, x, last) if part is not None]
        x = parts[0] if len(parts) == 1 else c.xp.concat(parts, axis=axis)
    return x


def _padding(name: str, mode: str) -> None:
    @op(" ".join(f"{name}_pad{count}d" for count in (1, 2, 3)))
    def entry(c: Call, x: Array, padding: Sequence[int]) -> Array:
        return _pad(c, x, padding, mode)


_padding("reflection", "reflect")
_padding("replication", "replicate")


# Resampling: along each axis, each new element is a weighted sum of old ones.

Kernel = Callable[[int, int, float | None, bool], np.ndarray]
"""``kernel(size, count, factor, align) -> (count, size)``: the weights of an axis."""


def _step(size: int, count: int, factor: float | None, align: bool) -> float:
    """How far apart, in the old axis, two new elements are."""
    if align:
        return (size - 1) / (count - 1) if count > 1 else 0.0
    return 1 / factor if factor else size / count


def _centers(size: int, count: int, factor: float | None, align: bool) -> np.ndarray:
    step = _step(size, count, factor, align)
    return np.arange(count) * step if align else (np.arange(count) + 0.5) * step - 0.5


def _linear(size: int, count: int, factor: float | None, align: bool) -> np.ndarray:
    at = np.clip(_centers(size, count, factor, align), 0, None)
    low = np.minimum(np.floor(at).astype(int), size - 1)
    share = np.clip(at - low, 0, 1)
    weights = np.zeros((count, size))
    np.add.at(weights, (np.arange(count), low), 1 - share)
    np.add.at(weights, (np.arange(count), np.minimum(low + 1, size - 1)), share)
    return weights


def _keys(x: np.ndarray, a: float) -> np.ndarray:
    """The cubic kernel of Keys (IEEE Transactions on Acoustics, Speech, and Signal Processing 29, 1981)."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _cubic(size: int, count: int, factor: float | None, align: bool) -> np.ndarray:
    at = _centers(size, count, factor, align)
    low = np.floor(at).astype(int)
    weights = np.zeros((count, size))
    for tap in range(-1, 3):
        np.add.at(weights, (np.arange(count), np.clip(low + tap, 0, size - 1)), _keys(at - low - tap, -0.75))
    return weights


def _smoothed(reach: float, shape: Callable[[np.ndarray], np.ndarray]) -> Kernel:
    """Antialiased: the kernel is as wide as the old elements that a new one covers."""

    def kernel(size: int, count: int, factor: float | None, align: bool) -> np.ndarray:
        step = _step(size, count, factor, align)
        wide = max(step, 1.0)
        weights = np.zeros((count, size))
        for row in range(count):
            center = step * (row + 0.5)
            first = max(int(center - reach * wide + 0.5), 0)
            last = min(int(center + reach * wide + 0.5), size)
            values = shape((np.arange(first, last) - center + 0.5) / wide)
            weights[row, first:last] = values / values.sum()
        return weights

    return kernel


def _weighted(c: Call, x: Array, axis: int, weights: np.ndarray) -> Array:
    matrix = c.constant(weights, x.dtype)
    if axis == len(x.shape) - 1:
        return c.xp.matmul(x, c.xp.matrix_transpose(matrix))
    if axis == len(x.shape) - 2:
        return c.xp.matmul(matrix, x)
    moved = c.xp.moveaxis(x, axis, -1)
    return c.xp.moveaxis(c.xp.matmul(moved, c.xp.matrix_transpose(matrix)), -1, axis)


def _sizes(
    x: Array, output_size: Sequence[int] | None, factors: Sequence[float | None] | None
) -> list[tuple[int, int, float | None]]:
    """Each axis with its new size and the factor that the caller gave for it."""
    count = len(x.shape) - 2
    factors = list(factors or [None] * count)
    if output_size is None:
        output_size = [math.floor(size * (f or 1)) for size, f in zip(x.shape[2:], factors, strict=True)]
    return [(2 + at, int(output_size[at]), factors[at]) for at in range(count)]


def _resampled(name: str, kernel: Kernel) -> None:
    @op(f"{name}.vec")
    def by_factors(
        c: Call, x: Array, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Any = None
    ) -> Array:
        return resample(c, x, _sizes(x, output_size, scale_factors), align_corners)

    @op(name)
    def by_size(c: Call, x: Array, output_size: Sequence[int], align_corners: bool, *scales: Any) -> Array:
        return resample(c, x, _sizes(x, output_size, scales), align_corners)

    def resample(c: Call, x: Array, sizes: list[tuple[int, int, float | None]], align: bool) -> Array:
        for axis, count, factor in sizes:
            if count != x.shape[axis] or (factor or 1) != 1:
                x = _weighted(c, x, axis, kernel(x.shape[axis], count, factor, align))
        return x


_resampled("upsample_linear1d", _linear)
_resampled("upsample_bilinear2d", _linear)
_resampled("upsample_trilinear3d", _linear)
_resampled("upsample_bicubic2d", _cubic)
_resampled("_upsample_bilinear2d_aa", _smoothed(1.0, lambda x: np.maximum(1 - np.abs(x), 0)))
_resampled("_upsample_bicubic2d_aa", _smoothed(2.0, lambda x: _keys(x, -0.5)))


def _nearest(name: str, shift: float) -> None:
    @op(f"{name}.vec")
    def by_factors(c: Call, x: Array, output_size: Sequence[int] | None, scale_factors: Any = None) -> Array:
        return resample(c, x, _sizes(x, output_size, scale_factors))

    @op(name)
    def by_size(c: Call, x: Array, output_size: Sequence[int], *scales: Any) -> Array:
        return resample(c, x, _sizes(x, output_size, scales))

    def resample(c: Call, x: Array, sizes: list[tuple[int, int, float | None]]) -> Array:
        for axis, count, factor in sizes:
            size = x.shape[axis]
            if count == size:
                continue
            if count % size == 0 and factor in (None, count / size):
                x = c.xp.repeat(x, count // size, axis=axis)
                continue
            step = np.float32(_step(size, count, factor, False))
            at = np.floor((np.arange(count, dtype=np.float32) + np.float32(shift)) * step)
            x = c.xp.take(x, c.constant(np.minimum(at.astype(int), size - 1)), axis=axis)
        return x


for _axes in (1, 2, 3):
    _nearest(f"upsample_nearest{_axes}d", 0.0)
    _nearest(f"_upsample_nearest_exact{_axes}d", 0.5)
