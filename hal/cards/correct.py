"""Does a device compute right: a short form of the conformance suite, against float64 on the host, per precision.

Tolerances are the bounds of rounding analysis (Higham, Accuracy and Stability of Numerical Algorithms, chapter 3): each
result may be off by a few units in the last place of the precision, times the size of what was added up. A device that
computes in another order or fuses steps stays far below; one with a broken unit does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hal import ops
from hal.cards.work import DTYPES, plan_for
from hal.contract import Backend
from hal.contract.device import Device, PrecisionName
from hal.errors import HalError

__all__ = ["Check", "check_precision"]

Floats = NDArray[np.float64]

_UNIT: dict[str, float] = {"fp32": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-9, "fp16": 2.0**-11}
_SMALLEST: dict[str, float] = {"fp16": 2.0**-14}
"""The smallest normal number; below it a device may flush to zero. That of the other precisions is next to nothing."""

_ACCUMULATED = 2.0**-24
_SLACK = 4.0
_N = 384
_NORM_EPSILON = 1e-5


class Check(BaseModel):
    """One op in one precision, compared with the host."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: str
    precision: str
    worst: float | None = Field(
        description="Largest deviation over what rounding allows; wrong above 1. None where there is no finite result."
    )
    agrees: bool
    failure: str = Field(default="", description="What the backend said, where the op failed.")


@dataclass(frozen=True)
class _Case:
    """An op, its inputs, and what float64 says: the result and the size of what was added up for it."""

    op: str
    inputs: tuple[Floats, ...]
    run: Callable[..., Any]
    expected: Callable[..., tuple[Floats, Floats]]
    product: bool = False


def check_precision(backend: Backend, device: Device, precision: PrecisionName) -> tuple[Check, ...]:
    """Compare ops in one precision with float64 on the host."""
    plan = plan_for(device, precision)
    with backend.settings(plan, device):
        return tuple(_check(backend, device, precision, case) for case in _cases())


def _check(backend: Backend, device: Device, precision: PrecisionName, case: _Case) -> Check:
    dtype = getattr(device.xp, DTYPES[precision])
    try:
        placed = [ops.cast(backend.from_host(x.astype(np.float32), device), dtype) for x in case.inputs]
        found = backend.to_host(case.run(*placed)).astype(np.float64)
        # What the device was given, which the cast has rounded.
        given = [backend.to_host(ops.cast(x, device.xp.float32)).astype(np.float64) for x in placed]
    except Exception as error:
        told = backend.classify(error) if not isinstance(error, HalError) else error
        if told is None:
            raise
        return Check(op=case.op, precision=precision, worst=None, agrees=False, failure=told.message)
    expected, size = case.expected(*given)
    unit = _UNIT[precision]
    inner = 2 * unit if precision == "tf32" and case.product else 0.0
    stored = _UNIT["fp32"] if precision == "tf32" else unit
    allowed = _SLACK * (stored * np.abs(expected) + (inner + _ACCUMULATED * math.sqrt(_N) + stored) * size)
    allowed = allowed + _SMALLEST.get(precision, 1e-37)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return Check(op=case.op, precision=precision, worst=None, agrees=False)
    worst = float(np.max(np.abs(found - expected) / allowed))
    return Check(op=case.op, precision=precision, worst=worst, agrees=worst <= 1)


def _cases() -> list[_Case]:
    random = np.random.default_rng(7)

    def normal(*shape: int) -> Floats:
        return random.standard_normal(shape)

    scale, offset = 1 + 0.1 * normal(_N), 0.1 * normal(_N)
    return [
        _Case("matmul", (normal(129, _N), normal(_N, 65)), ops.matmul, _matmul, product=True),
        _Case("conv2d", (normal(2, 9, 9, 32), normal(3, 3, 32, 24)), ops.conv2d, _conv2d, product=True),
        _Case(
            "attention",
            (normal(2, 4, 33, 32), normal(2, 4, 33, 32), normal(2, 4, 33, 32)),
            ops.attention,
            _attention,
            product=True,
        ),
        _Case("add", (normal(_N, 17), normal(_N, 17)), lambda a, b: a + b, lambda a, b: (a + b, 0 * a)),
        _Case("exp", (normal(_N, 17),), ops.exp, lambda a: (np.exp(a), 0 * a)),
        _Case("sum", (normal(65, _N),), lambda a: ops.sum(a, axis=1), _sum),
        _Case("softmax", (3 * normal(65, _N),), ops.softmax, lambda a: (_softmax(a), _softmax(a) * np.abs(a).max())),
        _Case("layer_norm", (normal(65, _N), scale, offset), _device_layer_norm, _layer_norm),
    ]


def _device_layer_norm(x: Any, scale: Any, offset: Any) -> Any:
    """Layer normalization, whose scale and offset are in fp32."""
    wide = ops.namespace(x).float32
    return ops.layer_norm(x, ops.cast(scale, wide), ops.cast(offset, wide), epsilon=_NORM_EPSILON)


def _matmul(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    return a @ b, np.abs(a) @ np.abs(b)


def _sum(a: Floats) -> tuple[Floats, Floats]:
    return a.sum(axis=1), np.abs(a).sum(axis=1)


def _conv2d(x: Floats, kernel: Floats) -> tuple[Floats, Floats]:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))

    def product(a: Floats, b: Floats) -> Floats:
        result: Floats = np.einsum("nhwcij,ijco->nhwo", a, b)
        return result

    return product(windows, kernel), product(np.abs(windows), np.abs(kernel))


def _softmax(x: Floats) -> Floats:
    raised: Floats = np.exp(x - x.max(axis=-1, keepdims=True))
    weights: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return weights


def _attention(q: Floats, k: Floats, v: Floats) -> tuple[Floats, Floats]:
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    spread = 1 + np.abs(q) @ np.swapaxes(np.abs(k), -1, -2) / math.sqrt(q.shape[-1])
    weights = _softmax(scores)
    return weights @ v, (weights * spread) @ np.abs(v)


def _layer_norm(x: Floats, scale: Floats, offset: Floats) -> tuple[Floats, Floats]:
    centred = x - x.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _NORM_EPSILON)
    return normed * scale + offset, np.abs(normed * scale) + np.abs(offset) + 1
