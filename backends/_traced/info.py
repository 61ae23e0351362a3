"""What ``__array_namespace_info__`` of the Array API standard, 2024.12, returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hal.backends._traced import dtypes

__all__ = ["NamespaceInfo"]

_MOST_AXES = 64
"""Axes that NumPy's arrays have at most, which values come from and go to."""
_BEYOND = ("bfloat16", "float16")
"""Types that the standard does not know."""


class NamespaceInfo:
    """The facts of a backend's namespace, by the names that the standard has for them.

    Args:
        found: the devices.
        first: the one that is used where none is named.
        values: whether results may depend on the values of arrays.
    """

    def __init__(self, found: Callable[[], list[Any]], first: Callable[[], Any], *, values: bool) -> None:
        self.devices, self.default_device = found, first
        self._values = values

    def capabilities(self) -> dict[str, Any]:
        """What the standard leaves to a library."""
        return {"boolean indexing": self._values, "data-dependent shapes": self._values, "max dimensions": _MOST_AXES}

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """Of results whose type nothing decides."""
        return {
            "real floating": dtypes.float32,
            "complex floating": dtypes.complex64,
            "integral": dtypes.int64,
            "indexing": dtypes.int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """Data types of the standard by name, all or those of a kind."""
        return {
            name: dtype
            for name, dtype in dtypes.ALL.items()
            if name not in _BEYOND and (kind is None or dtypes.isdtype(dtype, kind))
        }
