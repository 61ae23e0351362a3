"""How far apart two values of a plan key are: one distance, for the model, for samplers and for seeds.

A value has a word and numbers. ``64`` is the number 64, ``dp=4`` the number 4 under the word ``dp=#``, and ``bf16``,
whose key is not ordered, a word alone. Numbers are compared by their logarithm to the base 2, so that 64 is as far from
128 as 128 from 256. Another word is as far away as a factor of two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hal.contract.plan import Plan

__all__ = ["Codes", "Distance", "Floats", "rank_of"]

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.intp]
"""Plans as rows of numbers that stand for the values of their keys, shape (plans, keys)."""

_NUMBER = re.compile(r"[0-9]+")
_LEAST = 0.5
"""What stands for zero, which has no logarithm."""


class Distance:
    """The distance between plans, key by key.

    Args:
        keys: the plan keys that are compared.
        units: cores of the device: the number of threads that a framework takes where the plan names none.
    """

    def __init__(self, keys: Sequence[str], units: int) -> None:
        self._keys, self._units = tuple(keys), units
        self._values: list[dict[object, int]] = [{} for _ in self._keys]
        self._tables: list[Floats] = [np.zeros((0, 0)) for _ in self._keys]

    def codes(self, plans: Sequence[Plan]) -> Codes:
        """Plans as numbers; those of equal values are equal."""
        columns = [
            [known.setdefault(getattr(plan, key), len(known)) for plan in plans]
            for key, known in zip(self._keys, self._values, strict=True)
        ]
        return np.array(columns, np.intp).reshape(len(self._keys), len(plans)).T

    def tables(self) -> Sequence[Floats]:
        """For each key, the squared distance of every two values that have a code, shape (values, values)."""
        for index, (key, known) in enumerate(zip(self._keys, self._values, strict=True)):
            if len(self._tables[index]) < len(known):
                self._tables[index] = np.array([[self._squared(key, a, b) for b in known] for a in known])
        return self._tables

    def nearest(self, plan: Plan, plans: Sequence[Plan]) -> Plan:
        """The plan with the least sum of squared distances in all keys; the first of equals.

        Args:
            plan: a plan, which need not be among the others.
            plans: the plans to choose from, at least one.
        """
        here, there = self.codes([plan])[0], self.codes(plans)
        total = np.zeros(len(plans))
        for index, table in enumerate(self.tables()):
            total += table[here[index], there[:, index]]
        return plans[int(np.argmin(total))]

    def size(self, key: str, value: object) -> float:
        """The sum of the logarithms of a value's numbers; 0 for a value without any."""
        return sum(self._coordinates(key, value)[1])

    def _squared(self, key: str, a: object, b: object) -> float:
        (one, its), (two, others) = self._coordinates(key, a), self._coordinates(key, b)
        longest = max(len(its), len(others))
        pairs = zip(_padded(its, longest), _padded(others, longest), strict=True)
        return float(one != two) + sum((x - y) ** 2 for x, y in pairs)

    def _coordinates(self, key: str, value: object) -> tuple[str, list[float]]:
        word, numbers = _parts(key, value)
        if value is None and key == "threads":
            numbers = (self._units,)
        return word, [math.log2(max(number, _LEAST)) for number in numbers]


def rank_of(key: str, value: object) -> tuple[bool, tuple[int, ...], str]:
    """What values of a key are sorted by: the framework's own choice first, then numbers by their size, then words."""
    word, numbers = _parts(key, value)
    return value is not None, numbers, word


def _parts(key: str, value: object) -> tuple[str, tuple[int, ...]]:
    """The word and the numbers of a value; one of a key that is not ordered has no numbers.

    >>> _parts("parallel", "dp=4"), _parts("batch", 64), _parts("precision", "bf16")
    (('dp=#', (4,)), ('#', (64,)), ('bf16', ()))
    """
    text = str(value)
    if not Plan.ordered(key):
        return text, ()
    return _NUMBER.sub("#", text), tuple(map(int, _NUMBER.findall(text)))


def _padded(logs: Sequence[float], length: int) -> list[float]:
    """No number counts as 1, whose logarithm is 0: ``none`` is one device, as ``dp=1`` is."""
    return [*logs, *[0.0] * (length - len(logs))]
