"""Programs built for hardware that is not here: what goes in, and what the compiler says of them.

All figures are of one device, also in a program for several.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass

from hal.errors import OutOfMemoryError

__all__ = ["ArrayShape", "Cost", "DoesNotFitError", "Memory", "Program"]


@dataclass(frozen=True)
class ArrayShape:
    """An array before it exists: a leaf of a program's arguments.

    Attributes:
        shape: of the whole array.
        dtype: as NumPy names it.
        split: whether its first axis is a batch, which a group of devices shares out.
    """

    shape: tuple[int, ...]
    dtype: str
    split: bool = False


@dataclass(frozen=True)
class Memory:
    """Memory of one device that a program needs, in bytes, by kind.

    Attributes:
        arguments: what is passed in: parameters, state, a batch.
        outputs: what comes out.
        aliased: of the outputs, what lies in donated arguments.
        temporaries: what lives while it runs.
        code: the program itself; 0 where the compiler does not say.
        peak: the compiler's own figure of the most at one moment; it may count on-chip memories too.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    peak: int

    @property
    def total(self) -> int:
        """What must be free on the device to run it."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


@dataclass(frozen=True)
class Cost:
    """What one run of a program costs one device.

    Attributes:
        flops: floating-point operations.
        bytes: moved to and from memory.
        estimate_s: time of one run; None where nothing says.
        source: what the estimate is, for people: the compiler's, or a roofline's and of what.
        counted: where FLOPs and bytes come from, for people.
    """

    flops: float | None
    bytes: float | None
    estimate_s: float | None
    source: str
    counted: str


class Program(abc.ABC):
    """A program that was built.

    Attributes:
        memory: None where it was lowered alone, since no compiler for the target runs here.
        seconds: that tracing, lowering and compiling took.
    """

    memory: Memory | None
    seconds: float

    @property
    @abc.abstractmethod
    def usable_bytes(self) -> int | None:
        """What a program may use of one device; None: not known."""

    @property
    @abc.abstractmethod
    def cost(self) -> Cost:
        """FLOPs, bytes and an estimate of time."""

    @abc.abstractmethod
    def artifacts(self) -> Mapping[str, str]:
        """Texts worth keeping, by file name."""

    @property
    def fits(self) -> bool | None:
        """Whether it fits in what a program may use of one device; None: not known."""
        if self.memory is None or self.usable_bytes is None:
            return None
        return self.memory.total <= self.usable_bytes


class DoesNotFitError(OutOfMemoryError):
    """A program needs more memory than a device has.

    Attributes:
        needed_bytes: of one device; None where the compiler does not say.
        usable_bytes: of one device; None where the compiler does not say.
        program: what was built, where the compiler built it all the same.
    """

    def __init__(
        self, message: str, needed_bytes: int | None, usable_bytes: int | None, program: Program | None = None
    ) -> None:
        super().__init__(message, fix="use a smaller batch, accumulate=, or more devices")
        self.needed_bytes = needed_bytes
        self.usable_bytes = usable_bytes
        self.program = program
