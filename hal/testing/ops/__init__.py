"""The oracle and the cases of every op, by family, in files of the same names as in hal.tensor.ops.

Each module here has ``CASES`` and a class ``Oracle``, and may have ``WRONG_SHAPES``; it is found by being here.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from hal.testing.case import Case, Wrong, unique

__all__ = ["CASES", "ORACLE", "WRONG_SHAPES"]

_FAMILIES = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]

CASES: tuple[Case, ...] = tuple(unique([case for family in _FAMILIES for case in family.CASES]))

WRONG_SHAPES: tuple[Wrong, ...] = tuple(w for family in _FAMILIES for w in getattr(family, "WRONG_SHAPES", ()))
"""Calls that raise ShapeError."""

ORACLE: Any = type("Oracle", tuple(family.Oracle for family in _FAMILIES), {})()
"""The functions of :class:`hal.tensor.Ops` on float64 arrays."""
