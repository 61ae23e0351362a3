"""What can be chosen about kernels: the keys of a plan, their values for a device, and what holds now."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hal.backends.opencl.codegen.kernel import Facts
from hal.contract.plan import Plan

__all__ = ["SEARCHED", "Choices", "choices_for", "choosing", "chosen", "keys_of", "offered"]

_CARD_TILES = ("4x4", "4x8", "8x4", "8x8", "2x4")
_CARD_GROUPS = ("256", "128", "64")
# Sums take 6 to 12 of 16 registers of 8 floats, or 12 to 16 of 32 registers of 16.
_PROCESSOR_TILES = {8: ("6x16", "4x16", "8x16", "4x24", "4x8"), 16: ("8x32", "6x32", "4x48", "8x16", "6x16")}
_PROCESSOR_GROUPS = ("32", "8", "1")
SEARCHED = ("tile", "workgroup")
"""Keys whose values ``compile=max`` tries for each product by itself."""

_SUMS = ("pieces", "whole")
_RECURRENCES = ("filled", "whole", "steps")


@dataclass(frozen=True)
class Choices:
    """How products of matrices and recurrent layers are computed.

    Attributes:
        tile: rows and columns of results that are summed in registers. On cards a work-item computes one tile, on
            processors a block of many.
        group: on cards, work-items of a work-group; on processors, the most tiles in a column of a work-item's block.
        pieces: whether long sums are cut into pieces that run side by side.
        recurrence: a value of the plan's key.
    """

    tile: tuple[int, int]
    group: int
    pieces: bool = True
    recurrence: str = "steps"


def offered(facts: Facts) -> dict[str, tuple[str, ...]]:
    """The keys of a plan that choose kernels, with the values for a device, the default first."""
    if facts.cpu:
        return {
            "tile": _PROCESSOR_TILES[facts.vector],
            "workgroup": _PROCESSOR_GROUPS,
            "sums": _SUMS,
            "recurrence": _RECURRENCES,
        }
    fitting = tuple(group for group in _CARD_GROUPS if int(group) <= facts.local_size)
    return {"tile": _CARD_TILES, "workgroup": fitting or _CARD_GROUPS[-1:], "sums": _SUMS}


def keys_of(plan: Plan) -> dict[str, str]:
    """The values that a plan has of these keys."""
    return {key: getattr(plan, key) for key in ("tile", "workgroup", "sums", "recurrence")}


def choices_for(facts: Facts, keys: Mapping[str, str] | None = None) -> Choices:
    """The choices of a plan.

    Args:
        facts: of the device.
        keys: values of the plan's keys; ``auto``, or a key that is missing, stands for the device's default.
    """
    found = {}
    for key, values in offered(facts).items():
        value = (keys or {}).get(key, "auto")
        found[key] = values[0] if value == "auto" else value
    rows, columns = found["tile"].split("x")
    pieces, recurrence = found["sums"] == "pieces", found.get("recurrence", "steps")
    return Choices((int(rows), int(columns)), int(found["workgroup"]), pieces, recurrence)


_CHOSEN: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar("chosen", default=None)


def chosen(facts: Facts) -> Choices:
    """What holds now, for the code that makes graphs and kernels."""
    return choices_for(facts, _CHOSEN.get())


@contextlib.contextmanager
def choosing(keys: Mapping[str, str]) -> Iterator[None]:
    """Have some values of the keys hold for what is traced and scheduled within."""
    token = _CHOSEN.set(keys)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
