"""New arrays of known values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hal.torch.table.call import Call
from hal.torch.table.entries import op
from hal.types import Array

__all__: list[str] = []


@op("full")
def _full(c: Call, size: Sequence[int], fill_value: Any, **_: Any) -> Array:
    return c.full(size, fill_value, c.result)


@op("zeros empty.memory_format empty_permuted")
def _zeros(c: Call, size: Sequence[int], *_: Any, **__: Any) -> Array:
    return c.full(size, 0, c.result)


@op("ones")
def _ones(c: Call, size: Sequence[int], **_: Any) -> Array:
    return c.full(size, 1, c.result)


@op("new_full")
def _new_full(c: Call, x: Array, size: Sequence[int], fill_value: Any, **_: Any) -> Array:
    return c.full(size, fill_value, c.result)


@op("new_zeros new_empty new_empty_strided empty_strided")
def _new_zeros(c: Call, x: Array, size: Sequence[int], *_: Any, **__: Any) -> Array:
    return c.full(size, 0, c.result)


@op("new_ones")
def _new_ones(c: Call, x: Array, size: Sequence[int], **_: Any) -> Array:
    return c.full(size, 1, c.result)


@op("full_like")
def _full_like(c: Call, x: Array, fill_value: Any, **_: Any) -> Array:
    return c.full(x.shape, fill_value, c.result)


@op("zeros_like empty_like")
def _zeros_like(c: Call, x: Array, **_: Any) -> Array:
    return c.full(x.shape, 0, c.result)


@op("ones_like")
def _ones_like(c: Call, x: Array, **_: Any) -> Array:
    return c.full(x.shape, 1, c.result)


@op("scalar_tensor")
def _scalar_tensor(c: Call, s: Any, **_: Any) -> Array:
    return c.full((), s, c.result)


@op("arange")
def _arange(c: Call, end: Any, **_: Any) -> Array:
    return c.constant(np.arange(end), c.result)


@op("arange.start arange.start_step")
def _arange_start(c: Call, start: Any, end: Any, step: Any = 1, **_: Any) -> Array:
    return c.constant(np.arange(start, end, step), c.result)


@op("linspace")
def _linspace(c: Call, start: float, end: float, steps: int, **_: Any) -> Array:
    return c.constant(np.linspace(start, end, steps), c.result)


@op("logspace")
def _logspace(c: Call, start: float, end: float, steps: int, base: float = 10.0, **_: Any) -> Array:
    return c.constant(np.logspace(start, end, steps, base=base), c.result)


@op("eye eye.m")
def _eye(c: Call, n: int, m: int | None = None, **_: Any) -> Array:
    return c.constant(np.eye(n, m), c.result)


@op("tril_indices")
def _tril_indices(c: Call, row: int, col: int, offset: int = 0, **_: Any) -> Array:
    return c.constant(np.stack(np.tril_indices(row, offset, col)), c.result)


@op("triu_indices")
def _triu_indices(c: Call, row: int, col: int, offset: int = 0, **_: Any) -> Array:
    return c.constant(np.stack(np.triu_indices(row, offset, col)), c.result)


def _window(name: str, periodic_first: bool = True) -> None:
    functions = {"hann_window": np.hanning, "hamming_window": np.hamming, "blackman_window": np.blackman}

    @op(f"{name} {name}.periodic")
    def entry(c: Call, window_length: int, periodic: bool = periodic_first, **_: Any) -> Array:
        values = functions[name](window_length + 1)[:-1] if periodic else functions[name](window_length)
        return c.constant(values, c.result)


for _name in ("hann_window", "hamming_window", "blackman_window"):
    _window(_name)
