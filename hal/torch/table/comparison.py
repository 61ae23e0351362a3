"""Comparisons, logic, and choices by a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hal.torch.table.call import Call, is_array
from hal.torch.table.entries import op, register
from hal.types import Array

__all__: list[str] = []


def _comparisons() -> None:
    def make(name: str) -> Callable[..., Array]:
        def entry(c: Call, a: Array, b: Any) -> Array:
            a, b = c.promoted(a, b)
            return getattr(c.xp, name)(a, c.array(b, a) if c.kind(a) == "b" else b)

        return entry

    names = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
    for name, neutral in names.items():
        register(f"{name}.Tensor {name}.Scalar", make(neutral))


_comparisons()


def _logic() -> None:
    """Bits of integers, truth of booleans."""

    def make(name: str, names: str) -> None:
        @op(names)
        def entry(c: Call, a: Array, b: Any) -> Array:
            a, b = c.promoted(a, b)
            b = c.array(b, a)
            return getattr(c.xp, f"logical_{name}" if c.kind(a) == "b" else f"bitwise_{name}")(a, b)

        @op(f"logical_{name}")
        def truth(c: Call, a: Array, b: Array) -> Array:
            return getattr(c.xp, f"logical_{name}")(_truth(c, a), _truth(c, b))

    for name in ("and", "or", "xor"):
        make(name, f"bitwise_{name}.Tensor bitwise_{name}.Scalar __{name}__.Tensor __{name}__.Scalar")


def _truth(c: Call, x: Array) -> Array:
    return x if c.kind(x) == "b" else c.xp.not_equal(x, 0)


_logic()


@op("logical_not")
def _logical_not(c: Call, x: Array) -> Array:
    return c.xp.logical_not(_truth(c, x))


@op("bitwise_not")
def _bitwise_not(c: Call, x: Array) -> Array:
    return c.xp.logical_not(x) if c.kind(x) == "b" else c.xp.bitwise_invert(x)


def _shifts() -> None:
    def make(name: str) -> Callable[..., Array]:
        def entry(c: Call, a: Array, b: Any) -> Array:
            a, b = c.promoted(a, b)
            return getattr(c.xp, name)(a, c.array(b, a))

        return entry

    for side in ("left", "right"):
        names = f"bitwise_{side}_shift.Tensor bitwise_{side}_shift.Tensor_Scalar __{side[0]}shift__.Scalar"
        register(names, make(f"bitwise_{side}_shift"))


_shifts()


def _tests() -> None:
    def make(name: str) -> Callable[..., Array]:
        def entry(c: Call, x: Array) -> Array:
            return getattr(c.xp, name)(c.floating(x))

        return entry

    for name in ("isnan", "isinf", "isfinite"):
        register(name, make(name))


_tests()


@op("nan_to_num")
def _nan_to_num(
    c: Call, x: Array, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Array:
    limits = c.xp.finfo(x.dtype)
    x = c.xp.where(c.xp.isnan(x), c.array(nan or 0.0, x), x)
    high, low = (float(limits.max) if posinf is None else posinf), (float(limits.min) if neginf is None else neginf)
    x = c.xp.where(c.xp.equal(x, float("inf")), c.array(high, x), x)
    return c.xp.where(c.xp.equal(x, -float("inf")), c.array(low, x), x)


@op("where.self where.ScalarSelf where.ScalarOther where.Scalar")
def _where(c: Call, condition: Array, a: Any, b: Any) -> Array:
    a, b = c.promoted(a, b)
    if not is_array(a) and not is_array(b):
        a = c.full((), a, c.result)
    like = a if is_array(a) else b
    return c.xp.where(_truth(c, condition), c.array(a, like), c.array(b, like))


@op("masked_fill.Scalar masked_fill.Tensor")
def _masked_fill(c: Call, x: Array, mask: Array, value: Any) -> Array:
    filling = c.cast(value, x.dtype) if is_array(value) else c.xp.filled((), value, like=x)
    return c.xp.where(mask, filling, x)
