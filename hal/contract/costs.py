"""What a computation costs, op by op, and what a backend does that can count it."""

from __future__ import annotations

import abc
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from hal.contract.backend import Backend

__all__ = ["CostCount", "CountsCosts", "OpRecord", "Phase"]

Phase = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True)
class OpRecord:
    """What one op cost.

    Attributes:
        name: the op's name in the neutral API.
        phase: ``forward``, or ``backward`` for the step that differentiates the op.
        inputs: shapes of the arrays that it read.
        outputs: shapes of the arrays that it wrote.
        dtype: name of the first output's data type.
        flops: floating-point operations.
        bytes_moved: bytes read and written.
        live_bytes: memory alive when its outputs had been allocated.
    """

    name: str
    phase: Phase
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    dtype: str
    flops: int
    bytes_moved: int
    live_bytes: int


class CostCount(abc.ABC):
    """The ops that ran while counting, in order, with totals. See :meth:`CountsCosts.count`."""

    @property
    @abc.abstractmethod
    def records(self) -> tuple[OpRecord, ...]:
        """One record for each op."""

    @property
    @abc.abstractmethod
    def peak_live_bytes(self) -> int:
        """The most memory that was alive at once, arrays from before the counting included if an op used them."""

    @property
    @abc.abstractmethod
    def live_bytes(self) -> int:
        """Memory alive now, of the arrays that this count has seen."""

    @property
    def flops(self) -> int:
        """Floating-point operations of all ops."""
        return sum(r.flops for r in self.records)

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written by all ops."""
        return sum(r.bytes_moved for r in self.records)

    def by_op(self) -> dict[tuple[str, Phase], tuple[int, int, int]]:
        """Calls, FLOPs and bytes moved of each kind of op, by name and phase, in order of first use."""
        totals: dict[tuple[str, Phase], tuple[int, int, int]] = {}
        for r in self.records:
            calls, flops, moved = totals.get((r.name, r.phase), (0, 0, 0))
            totals[r.name, r.phase] = (calls + 1, flops + r.flops, moved + r.bytes_moved)
        return totals


class CountsCosts(Backend):
    """A backend that can say what a computation costs: operations, bytes moved and live memory."""

    @abc.abstractmethod
    def count(self) -> AbstractContextManager[CostCount]:
        """Record what the ops in the body of a ``with`` statement cost, in this thread; may be nested.

        Called by users and tools that ask what a model costs before they run it.

        Example:
            >>> import hal
            >>> from hal import registry
            >>> xp = hal.device("null").xp
            >>> x = xp.ones((1000,))
            >>> with registry.backend("null").count() as cost:
            ...     y = xp.sum(x * x)
            >>> cost.flops, cost.peak_live_bytes
            (2000, 8004)
        """
