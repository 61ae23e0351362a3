"""Cases for a representative part of the Array API standard (2024.12), with NumPy as the oracle, and for operators.

The standard has a suite of its own, array-api-tests; these are what models and hal's own defaults rest on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hal.testing.case import Case, distinct, floats, unique

__all__ = ["STANDARD_CASES"]

_INTS = np.array([[3, -1, 2], [0, 5, -4]], np.int32)
_BOOLS = np.array([[True, False, True], [False, False, True]])
_SPECIAL = np.array([1.0, np.inf, -np.inf, np.nan, -2.5], np.float32)
_TIES = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.25], np.float32)


def _case(op: str, label: str, *args: Any, gradient: bool = True, **kwargs: Any) -> Case:
    return Case(op, label, args, kwargs, result="numpy", gradient=gradient, precisions=("fp32",))


def _of(label: str, call: Any, *args: Any, op: str = "operators", gradient: bool = True) -> Case:
    return Case(op, label, args, call=call, result="numpy", gradient=gradient, precisions=("fp32",))


_UNARY = [
    *(
        _case(op, "", floats(3, 4))
        for op in [
            "abs",
            "atan",
            "asinh",
            "cos",
            "cosh",
            "exp",
            "expm1",
            "negative",
            "positive",
            "reciprocal",
            "sin",
            "sinh",
            "square",
            "tan",
            "tanh",
        ]
    ),
    *(_case(op, "", floats(3, 4, positive=True)) for op in ("log", "log1p", "log2", "log10", "sqrt")),
    *(_case(op, "", floats(3, 4, spread=0.125)) for op in ("acos", "asin", "atanh")),
    _case("acosh", "", floats(3, near=6.0)),
    *(_case(op, "", floats(3, 4), gradient=False) for op in ("ceil", "floor", "sign", "trunc", "isfinite")),
    *(_case(op, "", floats(3, 4), gradient=False) for op in ("zeros_like", "ones_like")),
    _case("round", "ties", _TIES, gradient=False),
    *(_case(op, "special", _SPECIAL, gradient=False) for op in ("isfinite", "isinf", "isnan")),
    _case("signbit", "", np.array([0.0, -0.0, -1.0, 2.0], np.float32), gradient=False),
    _case("abs", "integers", _INTS),
    _case("logical_not", "", _BOOLS),
    _case("bitwise_invert", "", _INTS),
]

_BINARY = [
    *(
        _case(op, "broadcast", floats(2, 3), floats(3))
        for op in ["add", "subtract", "multiply", "divide", "maximum", "minimum", "atan2", "hypot", "logaddexp"]
    ),
    _case("pow", "", floats(2, 3, positive=True), floats(3, spread=0.5)),
    *(
        _case(op, "floats", floats(2, 3), floats(3), gradient=False)
        for op in [
            "copysign",
            "equal",
            "floor_divide",
            "greater",
            "greater_equal",
            "less",
            "less_equal",
            "not_equal",
            "remainder",
        ]
    ),
    *(
        _case(op, "integers", _INTS, np.array([2, -3, 4], np.int32))
        for op in [
            "add",
            "floor_divide",
            "remainder",
            "multiply",
            "maximum",
            "less",
            "equal",
            "bitwise_and",
            "bitwise_or",
            "bitwise_xor",
        ]
    ),
    *(
        _case(op, "", np.abs(_INTS), np.array([1, 2, 3], np.int32))
        for op in ("bitwise_left_shift", "bitwise_right_shift")
    ),
    *(_case(op, "", _BOOLS, np.array([True, False, False])) for op in ("logical_and", "logical_or", "logical_xor")),
    _case("add", "empty", floats(0, 3), floats(3)),
]

_AXES: list[tuple[str, dict[str, Any]]] = [
    ("all", {}),
    ("axis", {"axis": 1}),
    ("axes-keepdims", {"axis": (0, -1), "keepdims": True}),
]
_REDUCTIONS = [
    *(_case(op, label, distinct(2, 3, 4), **kwargs) for op in ("sum", "mean", "max", "min") for label, kwargs in _AXES),
    _case("prod", "axis", floats(2, 3), axis=-1),
    _case("sum", "integers", _INTS, axis=0),
    _case("sum", "empty", floats(0, 3), axis=0),
    *(_case(op, "axis", floats(4, 3), axis=0) for op in ("std", "var")),
    *(_case(op, "axis", _BOOLS, axis=1) for op in ("all", "any")),
    *(_case(op, "axis", distinct(3, 4), axis=1, gradient=False) for op in ("argmax", "argmin")),
    _case("argmax", "all", distinct(3, 4), gradient=False),
    _case("count_nonzero", "axis", _INTS, axis=1),
    _case("cumulative_sum", "axis", floats(3, 4), axis=1),
    _case("cumulative_prod", "axis", floats(2, 4), axis=1, gradient=False),
    _case("diff", "axis", floats(3, 4), axis=0, gradient=False),
]

_MANIPULATION = [
    _case("broadcast_to", "", floats(3, 1), (2, 3, 4)),
    _case("concat", "axis", [floats(2, 3), floats(2, 1)], axis=1),
    _case("concat", "flat", [floats(2, 3), floats(2)], axis=None),
    _case("expand_dims", "", floats(2, 3), axis=1),
    _case("flip", "all", floats(2, 3)),
    _case("flip", "axis", floats(2, 3), axis=1),
    _case("matrix_transpose", "", floats(2, 3, 4)),
    _case("moveaxis", "", floats(2, 3, 4), 0, -1),
    _case("permute_dims", "", floats(2, 3, 4), (2, 0, 1)),
    _case("repeat", "axis", floats(2, 3), 2, axis=1),
    _case("reshape", "", floats(2, 6), (3, -1)),
    _case("reshape", "scalar", floats(1), ()),
    _case("roll", "axis", floats(2, 3), 1, axis=1),
    _case("squeeze", "", floats(2, 1, 3), axis=1),
    _case("stack", "axis", [floats(2, 3), floats(2, 3)], axis=1),
    _case("tile", "", floats(2, 3), (2, 1)),
    _case("tril", "", floats(3, 4)),
    _case("triu", "offset", floats(3, 4), k=1),
    _case("where", "broadcast", _BOOLS, floats(2, 3), floats(3)),
    _case("clip", "", floats(3, 4), -1.0, 1.5),
    _case("take", "axis", floats(4, 3), np.array([2, 0, 2], np.int64), axis=0),
    _case("take_along_axis", "", floats(3, 4), np.array([[0], [3], [1]], np.int64), axis=1),
    _case("sort", "axis", distinct(3, 4), axis=0, gradient=False),
    _case("sort", "integers", _INTS, gradient=False),
    _case("argsort", "axis", distinct(3, 4), axis=1, gradient=False),
    _case("searchsorted", "", np.array([-1, 0.5, 2], np.float32), np.array([-2, 0.5, 3], np.float32), gradient=False),
    _of("unstack", lambda xp, x: xp.unstack(x, axis=1), floats(2, 3), op="unstack"),
]

_LINEAR_ALGEBRA = [
    _case("matmul", "matrices", floats(3, 4), floats(4, 2)),
    _case("matmul", "batches", floats(2, 1, 3, 4), floats(3, 4, 2)),
    _case("matmul", "vector", floats(3, 4), floats(4)),
    _case("matmul", "empty", floats(0, 4), floats(4, 2)),
    _case("vecdot", "", floats(3, 4), floats(3, 4)),
    _case("tensordot", "", floats(2, 3, 4), floats(3, 4, 2), axes=2),
]

_OPERATORS = [
    _of("arithmetic", lambda xp, x, y: (x + y, x - y, x * y, x / y, -x, abs(y)), floats(2, 3), floats(3)),
    _of("numbers", lambda xp, x: (x + 1, 2 - x, 3.0 * x, x / 4, 1 / x, x**2), floats(2, 3)),
    _of("comparison", lambda xp, x, y: (x < y, x >= y, x == y, x != 0, x > 0), floats(2, 3), floats(3), gradient=False),
    _of("matmul", lambda xp, x, y: x @ y, floats(2, 3), floats(3, 2)),
    _of("logic", lambda xp, a, b: (a & b, a | b, ~a), _BOOLS, np.array([True, True, False])),
    _of("slices", lambda xp, x: (x[1:, ::2], x[..., -1], x[0, ...], x[:, None, 1]), floats(3, 4)),
    _of("array-index", lambda xp, x, i: x[i, ...], floats(4, 3), np.array([3, 0, 3], np.int64), op="array-index"),
    _of("astype", lambda xp, x: xp.astype(x, xp.int32), floats(2, 3), op="astype", gradient=False),
    _of("astype-bool", lambda xp, x: xp.astype(x, xp.float32), _BOOLS, op="astype"),
]

STANDARD_CASES: tuple[Case, ...] = tuple(
    unique([*_UNARY, *_BINARY, *_REDUCTIONS, *_MANIPULATION, *_LINEAR_ALGEBRA, *_OPERATORS])
)
