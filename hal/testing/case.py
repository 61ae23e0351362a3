"""One call of one function with fixed inputs, which a backend and the oracle both make."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from hal.contract.device import PRECISIONS, PrecisionName

__all__ = ["Case", "Drawn", "Wrong", "distinct", "drawn", "floats", "leaves", "map_leaves", "unique"]

Wrong: TypeAlias = tuple[str, tuple[Any, ...], dict[str, Any], str]
"""A call that raises ShapeError: op, shapes of its arrays beside its other arguments, keyword arguments, and a part of
the message."""


@dataclass(frozen=True)
class Drawn:
    """An array whose values are drawn when it gets its place in a case, and follow from that place alone.

    Attributes:
        shape: of the array.
        near: the center of the values.
        spread: their scale.
        positive: whether their magnitudes are taken.
        distinct: whether no two are alike.
    """

    shape: tuple[int, ...]
    near: float = 0.0
    spread: float = 1.0
    positive: bool = False
    distinct: bool = False

    def values(self, seed: Sequence[int]) -> np.ndarray:
        """The values, fp32."""
        rng = np.random.default_rng(seed)
        if self.distinct:
            size = int(np.prod(self.shape))
            return np.asarray((rng.permutation(size) - size // 2).reshape(self.shape) / 16 + 1 / 32, np.float32)
        steps = np.clip(np.round(rng.standard_normal(self.shape) * 8), -32, 31)
        values = np.asarray((2 * steps + 1) / 16 * self.spread + self.near, np.float32)
        return np.abs(values) if self.positive else values


def floats(*shape: int, near: float = 0.0, spread: float = 1.0, positive: bool = False) -> Any:
    """Numbers around a center, exact in every precision, never zero when the center is.

    They are odd multiples of spread / 16 between -4 and 4 spreads, so that no kink of a piecewise function is near.
    """
    return Drawn(shape, near, spread, positive)


def distinct(*shape: int) -> Any:
    """As :func:`floats`, at most 256 of them and no two alike, so that maxima are unique."""
    return Drawn(shape, distinct=True)


def drawn(tree: Any, name: str) -> Any:
    """Nested tuples and lists with values in place of each :class:`Drawn`.

    The values depend on the name and on the place among the leaves: not on what else is drawn, and not on the process.
    """
    place = itertools.count()

    def values(leaf: Any) -> Any:
        seed = (zlib.crc32(name.encode()), next(place))
        return leaf.values(seed) if isinstance(leaf, Drawn) else leaf

    return map_leaves(values, tree)


def leaves(tree: Any) -> list[Any]:
    """Everything but None in nested tuples and lists, in order."""
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [] if tree is None else [tree]


def map_leaves(fn: Callable[[Any], Any], tree: Any) -> Any:
    """Nested tuples and lists with a function applied to everything but None."""
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_leaves(fn, part) for part in tree)
    return None if tree is None else fn(tree)


@dataclass(frozen=True, eq=False)
class Case:
    """A call.

    Attributes:
        op: name of the function; exclusions name it.
        label: tells the cases of one op apart.
        args: positional arguments: arrays, None, numbers, nested tuples and lists of these. What :func:`floats` and
            :func:`distinct` give becomes arrays, whose values follow from the op and the label.
        kwargs: keyword arguments.
        call: ``call(namespace, *args, **kwargs)`` for what is not one function; by default the function ``op``.
        axes: what the axes of each positional array mean, see :meth:`hal.contract.Backend.from_host`.
        wide: positions of arguments that stay fp32 in narrow precisions.
        constant: positions of arguments that no gradient is taken of.
        result: which dtype the results have: ``same`` as the first argument; ``fp32``; ``same,fp32``, the first as the
            first argument and the others fp32; ``numpy``, of the kind that NumPy gives.
        gradient: whether it is differentiated, by the first result alone if ``first``.
        scale: see :func:`hal.testing.tolerances.assert_close`.
        precisions: those that it is meant for.
    """

    op: str
    label: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    call: Callable[..., Any] | None = None
    axes: tuple[str, ...] = ()
    wide: frozenset[int] = frozenset()
    constant: frozenset[int] = frozenset()
    result: Literal["same", "fp32", "same,fp32", "numpy"] = "same"
    gradient: bool | Literal["first"] = True
    scale: float | None = None
    precisions: tuple[PrecisionName, ...] = PRECISIONS

    def __post_init__(self) -> None:
        object.__setattr__(self, "args", drawn(self.args, str(self)))

    def __str__(self) -> str:
        return f"{self.op}/{self.label}" if self.label else self.op

    def run(self, namespace: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Make the call in a namespace."""
        if self.call is not None:
            return self.call(namespace, *args, **kwargs)
        return getattr(namespace, self.op)(*args, **kwargs)

    def differentiable(self) -> tuple[int, ...]:
        """Positions of arguments that a gradient is taken of."""
        return tuple(i for i, arg in enumerate(self.args) if i not in self.constant and _floating(arg))

    def seed(self) -> int:
        """A number that is this case's own, the same in every process."""
        return zlib.crc32(str(self).encode())


def _floating(arg: Any) -> bool:
    found = [leaf for leaf in leaves(arg) if isinstance(leaf, np.ndarray)]
    return bool(found) and all(leaf.dtype.kind == "f" for leaf in found)


def unique(cases: Sequence[Case]) -> Iterator[Case]:
    """The cases, after a check that no two have one name."""
    seen: set[str] = set()
    for case in cases:
        assert str(case) not in seen, f"two cases are called {case}"
        seen.add(str(case))
        yield case
