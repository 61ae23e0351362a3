"""Data types of arrays without values: NumPy's, and a bfloat16, which NumPy lacks.

Types of one kind promote as the Array API standard says. Where it leaves a choice, these backends do as PyTorch and
JAX do: the floating type wins over the integer one, bfloat16 with float16 gives float32, Python scalars are weak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from hal.errors import UnsupportedError

__all__ = [
    "ALL",
    "DType",
    "FloatInfo",
    "as_dtype",
    "bfloat16",
    "bool_",
    "can_cast",
    "complex64",
    "complex128",
    "finfo",
    "float16",
    "float32",
    "float64",
    "floating",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "promote",
    "real_of",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


@dataclass(frozen=True)
class _BFloat16:
    """A sign, eight bits of exponent and seven of fraction."""

    name: str = "bfloat16"
    kind: str = "f"
    itemsize: int = 2

    def __repr__(self) -> str:
        return "bfloat16"


DType: TypeAlias = np.dtype[Any] | _BFloat16

bfloat16 = _BFloat16()
bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{bits}") for bits in (16, 32, 64))
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)

ALL: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        *(bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64),
        *(bfloat16, float16, float32, float64, complex64, complex128),
    )
}

_KINDS: dict[str, str] = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}
_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}
_OF_SCALAR = {"b": bool_, "i": int64, "f": float32, "c": complex64}


def as_dtype(dtype: Any) -> DType:
    """The data type that an object of this module, of NumPy or of another framework names.

    Raises:
        UnsupportedError: the Array API standard has no such type.
    """
    if isinstance(dtype, _BFloat16):
        return dtype
    name = str(dtype).rpartition(".")[2]
    if name in ALL:
        return ALL[name]
    try:
        return ALL[np.dtype(dtype).name]
    except (KeyError, TypeError):
        raise UnsupportedError(
            f"dtype={dtype!r} is not part of the neutral API", fix=f"use one of: {', '.join(ALL)}"
        ) from None


def floating(dtype: DType) -> DType:
    """The type in which division and elementary functions compute: a floating one as it is, else the default."""
    return dtype if dtype.kind in "fc" else float32


def real_of(dtype: DType) -> DType:
    """The type of the parts of a complex number; other types as they are."""
    return {"complex64": float32, "complex128": float64}.get(dtype.name, dtype)


def _pair(a: DType, b: DType) -> DType:
    if a == b:
        return a
    low, high = sorted((a, b), key=lambda dtype: _RANK[dtype.kind])
    if _RANK[low.kind] != _RANK[high.kind]:
        return complex128 if high.kind == "c" and low == float64 else high
    if isinstance(low, _BFloat16) or isinstance(high, _BFloat16):
        other = high if isinstance(low, _BFloat16) else low
        return float32 if other == float16 else other
    common = np.promote_types(low, high)
    if common.kind == "f" and low.kind != "f":
        raise UnsupportedError(f"{a} and {b} have no common type", fix="cast one of them with astype")
    return common


def _with_scalar(dtype: DType | None, kind: str) -> DType:
    if dtype is not None and _RANK[kind] <= _RANK[dtype.kind]:
        return dtype
    return complex128 if kind == "c" and dtype == float64 else _OF_SCALAR[kind]


def promote(*operands: Any) -> DType:
    """The common type of data types, arrays and Python scalars, called ``result_type`` in the standard.

    Raises:
        UnsupportedError: there is none, as for uint64 with a signed type.
    """
    common: DType | None = None
    kinds = []
    for operand in operands:
        if isinstance(operand, complex | float | int):
            kinds.append(np.result_type(type(operand)).kind)
        else:
            dtype = as_dtype(getattr(operand, "dtype", operand))
            common = dtype if common is None else _pair(common, dtype)
    for kind in kinds:
        common = _with_scalar(common, kind)
    if common is None:
        raise UnsupportedError("result_type was called without arguments", fix="pass arrays, data types or scalars")
    return common


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion leads from one type to another."""
    source, target = as_dtype(getattr(from_, "dtype", from_)), as_dtype(to)
    try:
        return promote(source, target) == target
    except UnsupportedError:
        return False


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a type is of a kind: a name of the standard, a type, or a tuple of these.

    Raises:
        UnsupportedError: no kind of that name.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise UnsupportedError(f"kind={kind!r} is not known", fix=f"use one of: {', '.join(_KINDS)}")
        return as_dtype(dtype).kind in _KINDS[kind]
    return as_dtype(dtype) == as_dtype(kind)


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating type, as ``finfo`` of the standard returns them."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


def finfo(of: Any, /) -> FloatInfo:
    """Limits of a floating type; of its parts for a complex one."""
    dtype = real_of(as_dtype(getattr(of, "dtype", of)))
    if isinstance(dtype, _BFloat16):
        largest = (2 - 2.0**-7) * 2.0**127
        return FloatInfo(16, 2.0**-7, largest, -largest, 2.0**-126, dtype)
    if dtype.kind != "f":
        raise UnsupportedError(f"finfo was given {dtype}", fix="use iinfo for integers")
    info = np.finfo(dtype)
    return FloatInfo(
        int(info.bits), float(info.eps), float(info.max), float(info.min), float(info.smallest_normal), dtype
    )


def iinfo(of: Any, /) -> Any:
    """Limits of an integer type."""
    dtype = as_dtype(getattr(of, "dtype", of))
    if dtype.kind not in "iu":
        raise UnsupportedError(f"iinfo was given {dtype}", fix="use finfo for floating types")
    return np.iinfo(dtype)
