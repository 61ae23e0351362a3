"""Devices as frozen facts: what a piece of hardware is and what it can do, per precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from hal.tensor.dispatch import ops_on

if TYPE_CHECKING:
    from hal.tensor import Ops

__all__ = ["PRECISIONS", "Capabilities", "Device", "Precision", "PrecisionName"]

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "tf32", "bf16", "fp16")


@dataclass(frozen=True)
class Precision:
    """How a device computes in one precision.

    Attributes:
        supported: results are right.
        accelerated: the hardware has units for it; where false, it runs converted to another precision.
        note: what a user should know, for example "denormals are flushed".
    """

    supported: bool
    accelerated: bool = False
    note: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What a device and its backend can do; a :class:`~hal.contract.Plan` is checked against it before anything runs.

    Attributes:
        precisions: one entry for each of :data:`PRECISIONS`.
        layouts: physical layouts of images that the backend offers, the device's default first.
        compile: values of the plan key ``compile`` that the backend offers, the default first.
        parallel: kinds of the plan key ``parallel`` that the backend offers: ``dp``, ``fsdp``.
        spread: how many processes or devices of this machine a plan may spread over.
        algorithms: values of the plan keys ``conv`` and ``pool`` that the backend offers, the device's default first.
        threads: whether the plan key ``threads`` has a meaning here.
        values: false where shapes are computed alone, so that nothing can be trained or measured.
        trains: false where the backend runs trained models and cannot differentiate.
    """

    precisions: Mapping[PrecisionName, Precision]
    layouts: tuple[str, ...] = ("nhwc",)
    compile: tuple[str, ...] = ("eager",)
    parallel: tuple[str, ...] = ()
    spread: int = 1
    algorithms: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"conv": ("direct",), "pool": ("window",)}
    )
    threads: bool = False
    values: bool = True
    trains: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "precisions", MappingProxyType(dict(self.precisions)))
        object.__setattr__(self, "algorithms", MappingProxyType(dict(self.algorithms)))

    def supported_precisions(self) -> tuple[PrecisionName, ...]:
        """Names of the precisions whose results are right here."""
        return tuple(name for name in PRECISIONS if name in self.precisions and self.precisions[name].supported)


@dataclass(frozen=True)
class Device:
    """One piece of hardware that a backend can use.

    Attributes:
        backend: name of the backend that drives it.
        index: position among that backend's devices, or among those of its kind.
        vendor: who made it, as the driver says.
        name: product name, as the driver says.
        arch: architecture as the vendor names it, for example ``sm_90``, ``gfx942``, ``avx512_bf16``.
        memory_bytes: memory that the device can address; None where unknown.
        compute_units: multiprocessors, compute units or cores; None where unknown.
        capabilities: what it can do.
        facts: further facts for people and fingerprints (driver and runtime versions, MIG slice, ...).
        kind: platform, for a backend that drives several; empty for others.
    """

    backend: str
    index: int
    vendor: str
    name: str
    arch: str
    memory_bytes: int | None
    compute_units: int | None
    capabilities: Capabilities
    facts: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))

    def __hash__(self) -> int:
        return hash((self.backend, self.kind, self.index, self.name, self.arch))

    def __str__(self) -> str:
        return ":".join([self.backend, *([self.kind] if self.kind else []), str(self.index)])

    @property
    def xp(self) -> Ops:
        """The neutral tensor API bound to this device: the Python Array API standard (2024.12) plus hal's own ops.

        Arrays are created on this device unless ``device=`` says otherwise.
        """
        return ops_on(self)
