"""The functions, types and constants of the Array API standard, 2024.12, on arrays without values.

What gives a shape that depends on values (``nonzero``, ``unique_*``, masks) raises UnsupportedError; the extensions
``linalg`` and ``fft`` are not there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from hal.backends._traced.dtypes import (
    bfloat16,
    can_cast,
    complex64,
    complex128,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from hal.backends._traced.dtypes import bool_ as bool
from hal.backends._traced.dtypes import promote as result_type
from hal.backends._traced.info import NamespaceInfo
from hal.backends._traced.results import function_of
from hal.backends.null.array import NullArray, elementwise
from hal.backends.null.device import DEVICE
from hal.backends.null.standard.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from hal.backends.null.standard.manipulation import (
    astype,
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    matrix_transpose,
    moveaxis,
    nonzero,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    take,
    take_along_axis,
    tile,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    unstack,
)
from hal.backends.null.standard.products import (
    matmul,
    tensordot,
    vecdot,
)
from hal.backends.null.standard.reductions import all_ as all
from hal.backends.null.standard.reductions import any_ as any
from hal.backends.null.standard.reductions import (
    argmax,
    argmin,
    argsort,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    mean,
    prod,
    searchsorted,
    sort,
    std,
    var,
)
from hal.backends.null.standard.reductions import max_ as max
from hal.backends.null.standard.reductions import min_ as min
from hal.backends.null.standard.reductions import sum_ as sum

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asarray",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "bfloat16",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "bool",
    "broadcast_arrays",
    "broadcast_to",
    "can_cast",
    "ceil",
    "clip",
    "complex64",
    "complex128",
    "concat",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "count_nonzero",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "divide",
    "e",
    "empty",
    "empty_like",
    "equal",
    "exp",
    "expand_dims",
    "expm1",
    "eye",
    "finfo",
    "flip",
    "float16",
    "float32",
    "float64",
    "floor",
    "floor_divide",
    "from_dlpack",
    "full",
    "full_like",
    "greater",
    "greater_equal",
    "hypot",
    "iinfo",
    "imag",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "matmul",
    "matrix_transpose",
    "max",
    "maximum",
    "mean",
    "meshgrid",
    "min",
    "minimum",
    "moveaxis",
    "multiply",
    "nan",
    "negative",
    "newaxis",
    "nextafter",
    "nonzero",
    "not_equal",
    "ones",
    "ones_like",
    "permute_dims",
    "pi",
    "positive",
    "pow",
    "prod",
    "real",
    "reciprocal",
    "remainder",
    "repeat",
    "reshape",
    "result_type",
    "roll",
    "round",
    "searchsorted",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sort",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensordot",
    "tile",
    "tril",
    "triu",
    "trunc",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unstack",
    "var",
    "vecdot",
    "where",
    "zeros",
    "zeros_like",
]

__array_api_version__ = "2024.12"

e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None


def _elementwise(name: str) -> Callable[..., NullArray]:
    return function_of(name, elementwise)


def clip(x: NullArray, /, min: Any = None, max: Any = None) -> NullArray:
    """Values limited to a range."""
    return elementwise("clip", x, *(limit for limit in (min, max) if limit is not None))


abs = _elementwise("abs")
acos = _elementwise("acos")
acosh = _elementwise("acosh")
add = _elementwise("add")
asin = _elementwise("asin")
asinh = _elementwise("asinh")
atan = _elementwise("atan")
atan2 = _elementwise("atan2")
atanh = _elementwise("atanh")
bitwise_and = _elementwise("bitwise_and")
bitwise_invert = _elementwise("bitwise_invert")
bitwise_left_shift = _elementwise("bitwise_left_shift")
bitwise_or = _elementwise("bitwise_or")
bitwise_right_shift = _elementwise("bitwise_right_shift")
bitwise_xor = _elementwise("bitwise_xor")
ceil = _elementwise("ceil")
conj = _elementwise("conj")
copysign = _elementwise("copysign")
cos = _elementwise("cos")
cosh = _elementwise("cosh")
divide = _elementwise("divide")
equal = _elementwise("equal")
exp = _elementwise("exp")
expm1 = _elementwise("expm1")
floor = _elementwise("floor")
floor_divide = _elementwise("floor_divide")
greater = _elementwise("greater")
greater_equal = _elementwise("greater_equal")
hypot = _elementwise("hypot")
imag = _elementwise("imag")
isfinite = _elementwise("isfinite")
isinf = _elementwise("isinf")
isnan = _elementwise("isnan")
less = _elementwise("less")
less_equal = _elementwise("less_equal")
log = _elementwise("log")
log10 = _elementwise("log10")
log1p = _elementwise("log1p")
log2 = _elementwise("log2")
logaddexp = _elementwise("logaddexp")
logical_and = _elementwise("logical_and")
logical_not = _elementwise("logical_not")
logical_or = _elementwise("logical_or")
logical_xor = _elementwise("logical_xor")
maximum = _elementwise("maximum")
minimum = _elementwise("minimum")
multiply = _elementwise("multiply")
negative = _elementwise("negative")
nextafter = _elementwise("nextafter")
not_equal = _elementwise("not_equal")
positive = _elementwise("positive")
pow = _elementwise("pow")
real = _elementwise("real")
reciprocal = _elementwise("reciprocal")
remainder = _elementwise("remainder")
round = _elementwise("round")
sign = _elementwise("sign")
signbit = _elementwise("signbit")
sin = _elementwise("sin")
sinh = _elementwise("sinh")
sqrt = _elementwise("sqrt")
square = _elementwise("square")
subtract = _elementwise("subtract")
tan = _elementwise("tan")
tanh = _elementwise("tanh")
trunc = _elementwise("trunc")
where = _elementwise("where")


def __array_namespace_info__() -> NamespaceInfo:
    return NamespaceInfo(lambda: [DEVICE], lambda: DEVICE, values=False)


NullArray.namespace = sys.modules[__name__]
