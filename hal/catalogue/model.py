"""How the catalogue describes a device: numbers, each with its sources, and what is unknown left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DECISIVE", "RATES", "CatalogueDevice", "Figure", "Form", "Rates", "Serves", "Source"]

Form = Literal["desktop", "workstation", "datacenter", "laptop", "edge", "cloud"]

RATES = ("fp32", "tf32", "bf16", "fp16", "int8", "fp8")
"""Precisions with a rate of their own, as the catalogue names them."""

DECISIVE = ("memory_gb", "bandwidth_gbps", "watts")
"""Figures by which devices are chosen, beside the rate in 16 bits: two independent sources are wanted for them."""

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(BaseModel):
    """Where numbers come from."""

    model_config = _STRICT

    text: str = Field(min_length=1, description="Author, title and version or day.")
    url: str | None = Field(default=None, pattern="^https://", description="Where it can be opened.")
    same_as: str | None = Field(default=None, description="Another source that both copy from.")


class Figure(BaseModel):
    """A number with the sources that say it, and what other sources say instead."""

    model_config = _STRICT

    value: float = Field(gt=0)
    sources: tuple[str, ...] = Field(min_length=1, description="Sources within 5% of the value.")
    differ: Mapping[str, float] = Field(default_factory=dict, description="Sources that say another number.")

    def scaled(self, factor: float, source: str) -> Figure:
        """A share of it, with the source that says how large the share is."""
        return Figure(value=self.value * factor, sources=(*self.sources, source))


class Rates(BaseModel):
    """Dense rates in TFLOP/s, int8 in TOP/s; those of matrix units accumulate in fp32 but for ``fp16_acc16``."""

    model_config = _STRICT

    fp32: Figure | None = None
    tf32: Figure | None = None
    bf16: Figure | None = None
    fp16: Figure | None = None
    fp16_acc16: Figure | None = Field(default=None, description="fp16 with fp16 accumulation, which frameworks avoid.")
    int8: Figure | None = None
    fp8: Figure | None = None


class Serves(BaseModel):
    """What software runs on a target."""

    model_config = _STRICT

    target: str = Field(description="Regular expression of targets.")
    backends: tuple[str, ...] = Field(description="Backends of hal.")
    builds: str = Field(description="Which builds of the framework have code for it.")
    since: str = ""
    until: str = ""
    unpredicted: str = Field(default="", description="Why measurements of others say nothing of it; empty: they do.")


class CatalogueDevice(BaseModel):
    """A product. A figure that no source says is None."""

    model_config = _STRICT

    id: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    name: str
    vendor: str
    generation: str
    target: str = Field(description="What compilers call the architecture.")
    form: Form
    names: tuple[str, ...] = Field(min_length=1, description="Names under which drivers report it.")
    part_of: str | None = Field(default=None, description="The whole card, for a slice of one.")
    memory_share: float | None = Field(default=None, gt=0, lt=1, description="Share of the card's bandwidth.")
    year: Figure | None = None
    memory_gb: Figure | None = None
    bandwidth_gbps: Figure | None = None
    watts: Figure | None = None
    link: str | None = None
    units: Figure | None = Field(default=None, description="Multiprocessors.")
    lanes: Figure | None = Field(default=None, description="Multiply-adds in fp32 per clock, without dual issue.")
    matrix_units: Figure | None = None
    clock_mhz: Figure | None = Field(default=None, description="Boost clock.")
    rates: Rates = Field(default_factory=Rates)

    def figures(self) -> Iterator[tuple[str, Figure | None]]:
        """Each figure by its name, known or not; rates are named ``rates.bf16``."""
        for name in ("year", *DECISIVE, "units", "lanes", "matrix_units", "clock_mhz"):
            yield name, getattr(self, name)
        for name in Rates.model_fields:
            yield f"rates.{name}", getattr(self.rates, name)

    def rate(self, precision: str) -> float | None:
        """FLOP/s that ops in a precision can count on: its own figure, or that of fp32 where no source says one.

        The device may be faster than that of fp32 says, so nothing is to be called slow by it; see :meth:`own_rate`.
        """
        own = self.own_rate(precision)
        return self.own_rate("fp32") if own is None else own

    def own_rate(self, precision: str) -> float | None:
        """FLOP/s that a source says of this precision itself; None where none does."""
        found: Figure | None = getattr(self.rates, precision, None)
        return None if found is None else found.value * 1e12

    @property
    def bandwidth(self) -> float | None:
        """Bytes/s of its memory; None where unknown."""
        return None if self.bandwidth_gbps is None else self.bandwidth_gbps.value * 1e9

    @property
    def memory_bytes(self) -> float | None:
        """Bytes of its memory, counting 2**30 to a GB, as memories are built; None where unknown."""
        return None if self.memory_gb is None else self.memory_gb.value * 2**30
