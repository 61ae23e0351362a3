"""Oracle and cases of :mod:`hal.tensor.ops.arrays`; what the cases do not cover, the checks of the suite do."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hal.testing.case import Case, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "Oracle"]

CASES = [Case("stop_gradient", "", (floats(2, 3),), gradient=False)]


class Oracle(Functions):
    """Differentiation and control."""

    def stop_gradient(self, x: F64) -> F64:
        return x

    def scan(self, fn: Callable[[Any, Any], tuple[Any, F64]], init: Any, xs: F64) -> tuple[Any, F64]:
        carry, ys = init, []
        for x in xs:
            carry, y = fn(carry, x)
            ys.append(y)
        return carry, np.stack(ys)
