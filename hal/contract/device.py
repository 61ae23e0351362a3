"""Devices as frozen facts: what a piece of hardware is and what it can do, per precision.

The classes are plain dataclasses that pydantic reads and writes, alone or as fields of its models. A fact or a
capability is written here and nowhere else: records, fingerprints, messages to workers and ``hal devices --json`` all
follow from the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, WrapSerializer

from hal.tensor.dispatch import ops_on

if TYPE_CHECKING:
    from hal.tensor import Ops

__all__ = ["PRECISIONS", "Capabilities", "Device", "DeviceFacts", "Hardware", "Precision", "PrecisionName"]

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "tf32", "bf16", "fp16")

F = TypeVar("F", bound="DeviceFacts")
_STRICT = ConfigDict(extra="forbid")
# A read-only mapping is no dict, which pydantic wants to write.
_AS_DICT = WrapSerializer(lambda mapping, write: write(dict(mapping)))


@dataclass(frozen=True)
class Precision:
    """How a device computes in one precision.

    Attributes:
        supported: results are right.
        accelerated: the hardware has units for it; where false, it runs converted to another precision.
        note: what a user should know, for example "denormals are flushed".
    """

    __pydantic_config__: ClassVar = _STRICT

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
        algorithms: values that the backend offers of plan keys such as ``conv`` and ``pool``, the fastest first as far
            as is known of this device. The first value that the other keys of a plan allow is the default.
        needs: for a value that does not go with every plan, written ``key=value``, the plan keys that it depends on and
            the values of them that it needs: ``{"pool=blocked": {"compile": ("eager",)}}``. ``layout``, ``compile`` and
            the keys of ``algorithms`` are resolved in this order: each depends on those before it alone, and on the
            keys that every plan has a value of, such as ``precision``.
        threads: whether the plan key ``threads`` has a meaning here.
        reserves_addresses: the runtime reserves far more addresses than it uses memory, so that a limit of a process's
            address space limits no memory and only ends the process.
        values: false where shapes are computed alone, so that nothing can be trained or measured.
        trains: false where the backend runs trained models and cannot differentiate.
    """

    __pydantic_config__: ClassVar = _STRICT

    precisions: Annotated[Mapping[PrecisionName, Precision], _AS_DICT]
    layouts: tuple[str, ...] = ("nhwc",)
    compile: tuple[str, ...] = ("eager",)
    parallel: tuple[str, ...] = ()
    spread: int = 1
    algorithms: Annotated[Mapping[str, tuple[str, ...]], _AS_DICT] = field(
        default_factory=lambda: {"conv": ("direct",), "pool": ("window",)}
    )
    needs: Annotated[Mapping[str, Mapping[str, tuple[str, ...]]], _AS_DICT] = field(default_factory=dict)
    threads: bool = False
    reserves_addresses: bool = False
    values: bool = True
    trains: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "precisions", MappingProxyType(dict(self.precisions)))
        object.__setattr__(self, "algorithms", MappingProxyType(dict(self.algorithms)))
        object.__setattr__(self, "needs", MappingProxyType(dict(self.needs)))

    def choices(self) -> dict[str, tuple[str, ...]]:
        """The keys of a plan that the device chooses a value of, with the values that it offers."""
        return {"layout": self.layouts, "compile": self.compile, **self.algorithms}

    def supported_precisions(self) -> tuple[PrecisionName, ...]:
        """Names of the precisions whose results are right here."""
        return tuple(name for name in PRECISIONS if name in self.precisions and self.precisions[name].supported)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a piece of hardware is, apart from which one of several equal ones.

    Attributes:
        backend: name of the backend that drives it.
        kind: platform, for a backend that drives several; empty for others.
        vendor: who made it, as the driver says.
        arch: architecture as the vendor names it, for example ``sm_90``, ``gfx942``, ``avx512_bf16``.
        name: product name, as the driver says.
        compute_units: multiprocessors, compute units or cores; None where unknown.
        memory_bytes: memory that the device can address; None where unknown.
        facts: further facts for people and fingerprints (driver and runtime versions, MIG slice, ...).
    """

    __pydantic_config__: ClassVar = _STRICT

    backend: str
    kind: str = ""
    vendor: str
    arch: str
    name: str
    compute_units: int | None
    memory_bytes: int | None
    facts: Annotated[Mapping[str, str], _AS_DICT] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))


@dataclass(frozen=True, kw_only=True)
class DeviceFacts(Hardware):
    """A device as records keep it.

    Attributes:
        index: position among its backend's devices, or among those of its kind.
    """

    index: int

    @classmethod
    def of(cls: type[F], device: DeviceFacts) -> F:
        """The facts of a device, without what a subclass adds to them."""
        return cls(**{each.name: getattr(device, each.name) for each in fields(cls)})

    def __hash__(self) -> int:
        return hash((self.backend, self.kind, self.index, self.name, self.arch))

    def __str__(self) -> str:
        kind = self.kind.removeprefix(f"{self.backend}:")  # the kind of a target is its name: opencl:gfx1030
        return ":".join([self.backend, *([kind] if kind else []), str(self.index)])


@dataclass(frozen=True, kw_only=True)
class Device(DeviceFacts):
    """One piece of hardware that a backend can use.

    Attributes:
        capabilities: what it can do.
    """

    capabilities: Capabilities

    __hash__ = DeviceFacts.__hash__  # a dataclass would hash all fields, and mappings have no hash

    @property
    def xp(self) -> Ops:
        """The neutral tensor API bound to this device: the Python Array API standard (2024.12) plus hal's own ops.

        Arrays are created on this device unless ``device=`` says otherwise.
        """
        return ops_on(self)

    def to_dict(self) -> dict[str, Any]:
        """All facts and capabilities as values that JSON has."""
        dumped: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return dumped
