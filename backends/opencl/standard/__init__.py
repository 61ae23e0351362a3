"""The functions, types and constants of the Array API standard, 2024.12, on OpenCL devices.

The extensions ``linalg`` and ``fft`` are not there. What gives a
shape that depends on values is computed on the host.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

from hal.backends._traced import dtypes, shapes
from hal.backends._traced.info import NamespaceInfo
from hal.backends._traced.results import RESULTS, function_of
from hal.backends.opencl import complexes
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.devices import first_device, found_devices
from hal.backends.opencl.primitives import COMPLEX, broadcast, cast, constant, elementwise, mapped
from hal.backends.opencl.standard import counting, creation, manipulation, reductions

__all__ = ["clip"]

__array_api_version__ = "2024.12"

_CONSTANTS: dict[str, Any] = {"e": math.e, "inf": math.inf, "nan": math.nan, "pi": math.pi, "newaxis": None}
_TYPES: dict[str, Any] = {
    **dtypes.ALL,
    "can_cast": dtypes.can_cast,
    "finfo": dtypes.finfo,
    "iinfo": dtypes.iinfo,
    "isdtype": dtypes.isdtype,
    "result_type": dtypes.promote,
}
_ACTIVATIONS = frozenset("relu leaky_relu elu erf gelu sigmoid silu softplus".split())


def clip(x: OpenclArray, /, min: Any = None, max: Any = None) -> OpenclArray:
    """X within bounds; at a bound the derivative with respect to x is 1, that with respect to the bound 0."""
    for bound, name in ((min, "at_least"), (max, "at_most")):
        if bound is not None:
            x = _bounded(name, x, bound)
    return x


def _bounded(name: str, x: OpenclArray, bound: Any) -> OpenclArray:
    limit = bound if isinstance(bound, OpenclArray) else constant(x.runtime, bound, x.dtype)
    shape = shapes.broadcast(x.shape, limit.shape)
    return mapped(name, (broadcast(x, shape), broadcast(cast(limit, x.dtype), shape)), x.dtype)


def __getattr__(name: str) -> Any:
    if name in RESULTS and name not in _ACTIVATIONS:
        return _elementwise(name)
    for found in (_CONSTANTS, _TYPES):
        if name in found:
            return found[name]
    for module in (creation, manipulation, reductions, counting):
        for spelled in (name, f"{name}_"):
            if spelled in module.__all__:
                return getattr(module, spelled)
    raise AttributeError(f"the Array API standard on OpenCL has no {name}")


@functools.cache
def _elementwise(name: str) -> Callable[..., OpenclArray]:
    return function_of(name, elementwise)


def __array_namespace_info__() -> NamespaceInfo:
    return NamespaceInfo(found_devices, first_device, values=True)


COMPLEX.update(complexes.PRIMITIVES)
OpenclArray.namespace = sys.modules[__name__]
