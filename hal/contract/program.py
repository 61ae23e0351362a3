"""Programs built for hardware that is not present: what for, what goes in, and what the compiler says of them.

All figures are of one device, also in a program for several.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, computed_field

from hal.contract.device import Device
from hal.errors import OutOfMemoryError

__all__ = ["ArrayShape", "DoesNotFitError", "KernelUse", "Program", "ProgramCost", "ProgramMemory", "Target"]


@dataclass(frozen=True)
class Target:
    """Hardware that is not here, to resolve plans against and to build programs for.

    Attributes:
        device: one of its devices; the kind is the target's name.
        devices: how many devices it has.
    """

    device: Device
    devices: int


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
class ProgramMemory:
    """Memory of one device that a program needs, in bytes, by kind.

    Attributes:
        arguments: what is passed in: parameters, state, a batch.
        outputs: what comes out.
        aliased: of the outputs, what lies in donated arguments.
        temporaries: what lives while it runs.
        code: the program itself; 0 where the compiler does not say.
        peak: the compiler's own figure of the most at one moment; it may count on-chip memories too.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="ignore")  # JSON has the total, which follows from the others

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    peak: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """What must be free on the device to run it."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


@dataclass(frozen=True)
class ProgramCost:
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


@dataclass(frozen=True)
class KernelUse:
    """What one kernel of a program uses of a device, and how many waves (groups of lanes) fit beside each other.

    Attributes:
        name: of the kernel.
        label: what it computes, for people.
        launches: how often a run of the program launches it.
        registers: of each kind, as the vendor names it.
        spilled_registers: how many more it would need, so that their values go through memory.
        local_bytes: memory that a work-group shares.
        scratch_bytes: memory of each work-item for what registers do not hold.
        group: work-items of a work-group.
        waves: how many run side by side where there are enough, as far as registers and local memory allow.
        most_waves: how many the hardware could run.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    name: str
    label: str
    launches: int
    registers: Mapping[str, int]
    spilled_registers: int
    local_bytes: int
    scratch_bytes: int
    group: int
    waves: int
    most_waves: int


class Program(abc.ABC):
    """A program that was built.

    Attributes:
        memory: None where it was lowered alone, since no compiler for the target runs here.
        seconds: that tracing, lowering and compiling took.
    """

    memory: ProgramMemory | None
    seconds: float

    @property
    @abc.abstractmethod
    def usable_bytes(self) -> int | None:
        """What a program may use of one device; None: not known."""

    @property
    @abc.abstractmethod
    def cost(self) -> ProgramCost:
        """FLOPs, bytes and an estimate of time."""

    @property
    def kernels(self) -> tuple[KernelUse, ...]:
        """What each kernel uses of the device, the one that uses it least well first; empty where nothing says."""
        return ()

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
