"""OpenCL C for each elementwise function, and the types that it computes in.

float16 is stored and loaded with ``vstore_half`` and ``vload_half``, which every device has, and computed in float.
Booleans are bytes of 0 and 1. What C leaves undefined and would end a process (an integer divided by zero) gives 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hal.backends._traced.dtypes import DType, real_of
from hal.errors import UnsupportedError

__all__ = ["compute_type", "expression", "helpers", "literal", "load", "storage_type", "store"]

_TYPES = {
    "bool": "uchar",
    "int8": "char",
    "int16": "short",
    "int32": "int",
    "int64": "long",
    "uint8": "uchar",
    "uint16": "ushort",
    "uint32": "uint",
    "uint64": "ulong",
    "float32": "float",
    "float64": "double",
    "complex64": "float2",
    "complex128": "double2",
}

_SAME = {
    "add": "({0}+{1})",
    "subtract": "({0}-{1})",
    "multiply": "({0}*{1})",
    "negative": "(-{0})",
    "positive": "{0}",
    "conj": "{0}",
    "real": "{0}",
    "square": "({0}*{0})",
    "where": "({0}?{1}:{2})",
    "equal": "({0}=={1})",
    "not_equal": "({0}!={1})",
    "less": "({0}<{1})",
    "less_equal": "({0}<={1})",
    "greater": "({0}>{1})",
    "greater_equal": "({0}>={1})",
    "logical_and": "({0}&&{1})",
    "logical_or": "({0}||{1})",
    "logical_xor": "(!{0}!=!{1})",
    "logical_not": "(!{0})",
    "bitwise_and": "({0}&{1})",
    "bitwise_or": "({0}|{1})",
    "bitwise_xor": "({0}^{1})",
    "maximum": "(({0}>{1}||{0}!={0})?{0}:{1})",
    "minimum": "(({0}<{1}||{0}!={0})?{0}:{1})",
    # Bounds of clip: x stays where it is NaN, and at the bound itself.
    "at_least": "({0}<{1}?{1}:{0})",
    "at_most": "({0}>{1}?{1}:{0})",
    "relu": "({0}<0?0:{0})",  # of NaN, NaN
}
_FLOATING = {
    **{name: f"{name}({{0}})" for name in "acos acosh asin asinh atan atanh ceil cos cosh expm1 floor".split()},
    **{name: f"{name}({{0}})" for name in "log log10 log1p log2 sin sinh sqrt tan trunc".split()},
    "abs": "fabs({0})",
    "atan2": "atan2({0},{1})",
    "copysign": "copysign({0},{1})",
    "divide": "({0}/{1})",
    "exp": "hal_exp_{T}({0})",
    "floor_divide": "hal_floor_divide_{T}({0},{1})",
    "hypot": "hypot({0},{1})",
    "isfinite": "(fabs({0})<INFINITY)",
    "isinf": "(fabs({0})==INFINITY)",
    "isnan": "({0}!={0})",
    "logaddexp": "hal_logaddexp_{T}({0},{1})",
    "nextafter": "nextafter({0},{1})",
    "pow": "pow({0},{1})",
    "reciprocal": "(1/{0})",
    "remainder": "hal_remainder_{T}({0},{1})",
    "round": "rint({0})",
    "sign": "({0}>0?({T})1:{0}<0?({T})-1:{0}!={0}?{0}:0)",
    "signbit": "(copysign(({T})1,{0})<0)",
    "sigmoid": "hal_sigmoid_{T}({0})",
    "tanh": "hal_tanh_{T}({0})",
    "unit": "(({0}>>8)*5.9604644775390625e-8f)",
}
_INTEGER = {
    **dict.fromkeys("ceil floor round trunc".split(), "{0}"),
    "abs": "hal_abs_{T}({0})",
    "bitwise_invert": "(~{0})",
    "bitwise_left_shift": "({1}<{bits}?{0}<<({1}&{mask}):0)",
    "bitwise_right_shift": "({0}>>({1}<{bits}?({1}&{mask}):{mask}))",
    "copysign": "{0}",
    "floor_divide": "hal_floor_divide_{T}({0},{1})",
    "imag": "0",
    "isfinite": "1",
    "isinf": "0",
    "isnan": "0",
    "pow": "hal_pow_{T}({0},{1})",
    "remainder": "hal_remainder_{T}({0},{1})",
    "sign": "(({0}>0)-({0}<0))",
    "signbit": "({0}<0)",
    "threefry_first": "hal_threefry({0},{1},{2},{3},0)",
    "threefry_word": "hal_threefry({0},{1},{2},{3},{4})",
    "threefry_second": "hal_threefry({0},{1},{2},{3},1)",
    "unit": "(({0}>>8)*5.9604644775390625e-8f)",
}

_PARTS = {"real": "{0}.x", "imag": "{0}.y", "positive": "{0}"}
"""What kernels do with complex numbers; the rest is computed with their parts."""

_FLOAT_HELPERS = {
    "hal_remainder": """
inline T hal_remainder_T(T a, T b) {
    T m = fmod(a, b);
    return m == 0 ? copysign((T)0, b) : (m < 0) != (b < 0) ? m + b : m;
}""",
    "hal_floor_divide": """
inline T hal_floor_divide_T(T a, T b) {
    T m = fmod(a, b), q = (a - m) / b;
    if (b == 0) return a / b;
    if (m != 0 && (m < 0) != (b < 0)) q -= 1;
    T f = floor(q);
    return q == 0 ? copysign((T)0, a / b) : q - f > (T)0.5 ? f + 1 : f;
}""",
    "hal_logaddexp": """
inline T hal_logaddexp_T(T a, T b) {
    T m = a > b ? a : b;
    return a == b ? a + (T)0.693147180559945309417 : m + log1p(exp(-fabs(a - b)));
}""",
    "hal_sigmoid": """
inline T hal_sigmoid_T(T x) { return 1 / (1 + hal_exp_T(-x)); }""",
    "hal_exp": """
inline T hal_exp_T(T x) { return exp(x); }""",
    "hal_tanh": """
inline T hal_tanh_T(T x) { return tanh(x); }""",
}
_INTEGER_HELPERS = {
    "hal_abs": """
inline T hal_abs_T(T x) { return ABSOLUTE; }""",
    "hal_remainder": """
inline T hal_remainder_T(T a, T b) {
    if (b == 0 || b == (T)-1) return 0;
    T m = a % b;
    return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}""",
    "hal_floor_divide": """
inline T hal_floor_divide_T(T a, T b) {
    if (b == 0) return 0;
    if (S && b == (T)-1) return (T)(0 - (W)a);
    T q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}""",
    "hal_pow": """
inline T hal_pow_T(T a, T b) {
    if (b < 0) return a == 1 ? 1 : a == (T)-1 ? (b & 1 ? a : 1) : 0;
    T r = 1;
    for (; b; b >>= 1, a *= a) if (b & 1) r *= a;
    return r;
}""",
}
# On processors a function of the driver would be called for each element. These are plain arithmetic, which the
# compiler turns into vectors: exp within one unit in the last place (the polynomial of Moshier's Cephes library), tanh
# within seven (the rational function of Eigen), without branches, which would have to be computed one by one.
_PROCESSOR_HELPERS = {
    "hal_exp_float": """
inline float hal_exp_float(float x) {
    float y = x > 89 ? 89 : x < -104 ? -104 : x;
    float n = (y * 1.44269504f + 12582912.0f) - 12582912.0f;
    float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r
        + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    int i = x == x ? (int)n : 0, half_ = i >> 1;
    float e = (p * r * r + r + 1) * as_float((half_ + 127) << 23) * as_float((i - half_ + 127) << 23);
    return x == x ? e : x;
}""",
    "hal_tanh_float": """
inline float hal_tanh_float(float x) {
    float y = x > 7.9053111f ? 7.9053111f : x < -7.9053111f ? -7.9053111f : x, z = y * y;
    float p = (((((-2.76076847742355e-16f * z + 2.00018790482477e-13f) * z - 8.60467152213735e-11f) * z
        + 5.12229709037114e-8f) * z + 1.48572235717979e-5f) * z + 6.37261928875436e-4f) * z + 4.89352455891786e-3f;
    float q = ((1.19825839466702e-6f * z + 1.18534705686654e-4f) * z + 2.26843463243900e-3f) * z
        + 4.89352518554385e-3f;
    return y * (p / q);
}""",
}
_OTHER_HELPERS = {
    "hal_round_half": """
inline float hal_round_half(float x) {
    ushort h;
    vstore_half(x, 0, (__private half *)&h);
    return vload_half(0, (__private const half *)&h);
}""",
    # Threefry 2x32 with 20 rounds (Salmon et al., SC 2011). PoCL puts it into loops too late to turn them into vectors
    # unless told to, and would call its own function for a rotation.
    "hal_threefry": """
static inline __attribute__((always_inline)) uint hal_threefry(uint k0, uint k1, uint x0, uint x1, int word) {
    const uint k2 = 0x1BD11BDAu ^ k0 ^ k1;
    x0 += k0; x1 += k1;
#define HAL_ROUND(r) x0 += x1; x1 = ROTATED ^ x0;
    HAL_ROUND(13) HAL_ROUND(15) HAL_ROUND(26) HAL_ROUND(6)  x0 += k1; x1 += k2 + 1;
    HAL_ROUND(17) HAL_ROUND(29) HAL_ROUND(16) HAL_ROUND(24) x0 += k2; x1 += k0 + 2;
    HAL_ROUND(13) HAL_ROUND(15) HAL_ROUND(26) HAL_ROUND(6)  x0 += k0; x1 += k1 + 3;
    HAL_ROUND(17) HAL_ROUND(29) HAL_ROUND(16) HAL_ROUND(24) x0 += k1; x1 += k2 + 4;
    HAL_ROUND(13) HAL_ROUND(15) HAL_ROUND(26) HAL_ROUND(6)  x0 += k2; x1 += k0 + 5;
#undef HAL_ROUND
    return word ? x1 : x0;
}""",
}

_BY_KIND_OF_DEVICE = {
    "ABSOLUTE": ("x < 0 ? -x : x", "abs(x)"),
    "ROTATED": ("((x1 << r) | (x1 >> (32 - r)))", "rotate(x1, (uint)r)"),
}


def storage_type(dtype: DType) -> str:
    """The C type of an element in memory."""
    if dtype.name == "float16":
        return "half"
    return _TYPES[dtype.name]


def compute_type(dtype: DType) -> str:
    """The C type that an element is computed in."""
    return "float" if dtype.name == "float16" else storage_type(dtype)


def load(dtype: DType, buffer: str, index: str) -> str:
    """An element of a buffer."""
    return f"vload_half({index},{buffer})" if dtype.name == "float16" else f"{buffer}[{index}]"


def store(dtype: DType, buffer: str, index: str, value: str) -> str:
    """The statement that writes an element of a buffer."""
    return f"vstore_half({value},{index},{buffer});" if dtype.name == "float16" else f"{buffer}[{index}]={value};"


def literal(value: Any, dtype: DType) -> str:
    """A constant of a type."""
    if dtype.kind == "b":
        return "1" if value else "0"
    if dtype.kind == "f":
        if math.isnan(value) or math.isinf(value):
            text = "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
            return f"(({compute_type(dtype)}){text})"
        text = repr(float(value)) + ("" if dtype.name == "float64" else "f")
        return f"({text})" if value < 0 or text.startswith("-") else text
    if dtype.kind == "c":
        return f"(({_TYPES[dtype.name]})({literal(value.real, real_of(dtype))},{literal(value.imag, real_of(dtype))}))"
    bits = 8 * dtype.itemsize
    if dtype.kind == "i" and value == -(1 << (bits - 1)):
        return f"(({_TYPES[dtype.name]})({value + 1}L-1))"
    suffix = {"i": "L" if bits == 64 else "", "u": "UL" if bits == 64 else "u"}[dtype.kind]
    return f"({value}{suffix})" if value < 0 else f"{value}{suffix}"


def expression(name: str, operands: Sequence[DType], result: DType, arguments: Sequence[str]) -> str:
    """C for one element of the result.

    Args:
        name: the function, one of the standard's or of this backend's own.
        operands: types of the arguments.
        result: type of the result.
        arguments: C variables.
    """
    if name == "cast":
        return _cast(operands[0], result, arguments[0])
    dtype = operands[-1]
    if name == "complex":
        return f"(({_TYPES[result.name]})({arguments[0]},{arguments[1]}))"
    if dtype.kind == "c" and name in _PARTS:
        return _PARTS[name].format(*arguments)
    if name == "bitwise_invert" and dtype.kind == "b":
        return f"(!{arguments[0]})"
    if name == "abs" and dtype.kind in "bu":
        return arguments[0]
    table = _FLOATING if dtype.kind == "f" else _INTEGER
    template = _SAME.get(name) or table.get(name)
    if template is None:
        raise UnsupportedError(f"{name} of {dtype} is not part of the opencl backend", fix="cast it with astype")
    bits = 8 * dtype.itemsize
    return template.format(*arguments, T=compute_type(dtype), bits=bits, mask=bits - 1)


def _cast(source: DType, target: DType, argument: str) -> str:
    if target.kind == "b":
        return f"({argument}!=0)"
    if target.name == "float16":
        return f"hal_round_half({argument})"
    return f"(({compute_type(target)}){argument})"


def helpers(sources: Iterable[str], *, cpu: bool) -> str:
    """Definitions of the helper functions that some sources call, and of those that these call, which come first."""
    found: dict[str, str] = {}

    def define(text: str) -> None:
        for name in sorted({*re.findall(r"\bhal_\w+", text)} - {*found}):
            body = _helper(name, cpu=cpu)
            if body and name not in found:
                define(re.sub(rf"\b{name}\b", "", body))
                found[name] = body

    for source in sources:
        define(source)
    return "\n".join(found.values()) + "\n"


def _helper(name: str, *, cpu: bool) -> str:
    if name in _OTHER_HELPERS:
        return _for_device(_OTHER_HELPERS[name], cpu)
    if cpu and name in _PROCESSOR_HELPERS:
        return _PROCESSOR_HELPERS[name]
    stem, _, kind = name.rpartition("_")
    table = _FLOAT_HELPERS if kind in ("float", "double") else _INTEGER_HELPERS
    return _for_device(_instance(table[stem], kind), cpu) if stem in table else ""


def _for_device(text: str, cpu: bool) -> str:
    """With the functions of the driver where these are instructions, which they are on cards."""
    for name, (on_processors, on_cards) in _BY_KIND_OF_DEVICE.items():
        text = text.replace(name, on_processors if cpu else on_cards)
    return text


def _instance(template: str, kind: str) -> str:
    signed = "0" if kind.startswith("u") else "1"
    wide = {"char": "uchar", "short": "ushort", "int": "uint", "long": "ulong"}.get(kind, kind)
    text = re.sub(r"\b(hal_\w+)_T\b", rf"\1_{kind}", template)
    for letter, value in (("T", kind), ("S", signed), ("W", wide)):
        text = re.sub(rf"\b{letter}\b", value, text)
    return text
