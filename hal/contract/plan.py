"""How to run a workload: the knobs that change speed and memory but not what is computed."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hal.contract.device import Device, PrecisionName
from hal.errors import PlanError, UnsupportedError

__all__ = ["Plan"]

Layout = Literal["auto", "nhwc", "nchw"]
Compile = Literal["auto", "eager", "default", "max"]
Conv = Literal["auto", "direct", "patches"]
Pool = Literal["auto", "window", "reshape"]


class Plan(BaseModel):
    """How to run. ``auto`` and ``None`` stand for the device's own default until :meth:`resolve` fills them in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=128, ge=1, description="samples per optimizer step")
    precision: PrecisionName = Field(
        default="fp32", description="what layers compute in; parameters stay fp32: fp32, tf32, bf16 or fp16"
    )
    layout: Layout = Field(
        default="auto", description="physical order of images in memory: nhwc, nchw or auto (the device's)"
    )
    compile: Compile = Field(
        default="auto", description="how much the framework compiles: eager, default, max or auto (the device's)"
    )
    conv: Conv = Field(
        default="auto",
        description="algorithm of convolutions: direct (the library's), patches (slices times a matrix) or auto",
    )
    pool: Pool = Field(
        default="auto",
        description="algorithm of max-pooling: window (the library's), reshape (the maximum of strided slices) or auto",
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the framework; unset: the framework's choice"
    )
    parallel: str = Field(
        default="none",
        description="devices to spread over: none, dp=N to split each batch over N of them, or "
        "fsdp=N to split parameters too",
    )
    accumulate: int = Field(default=1, ge=1, description="parts that a batch is split into, their gradients averaged")

    @field_validator("parallel")
    @classmethod
    def _parallel_form(cls, value: str) -> str:
        if value != "none" and not re.fullmatch(r"[a-z]+=[1-9][0-9]*(,[a-z]+=[1-9][0-9]*)*", value):
            raise ValueError("write none, or kinds with a count, for example dp=2")
        return value

    def resolve(self, device: Device) -> Plan:
        """This plan with the device's defaults filled in.

        Raises:
            PlanError: the plan contradicts itself.
            UnsupportedError: the device cannot do what the plan asks; says what it can do.
        """
        if self.batch % self.accumulate:
            raise PlanError(
                f"accumulate={self.accumulate} does not divide batch={self.batch}",
                fix=f"choose a batch that is a multiple of {self.accumulate}",
            )
        can = device.capabilities
        if self.precision not in can.supported_precisions():
            entry = can.precisions.get(self.precision)
            raise UnsupportedError(
                f"precision={self.precision} is not supported on {device} ({device.name}, {device.arch})"
                + (f": {entry.note}" if entry and entry.note else ""),
                fix=f"it supports: {', '.join(can.supported_precisions()) or 'nothing'}",
            )
        offered = {"layout": can.layouts, "compile": can.compile, **can.algorithms}
        chosen = {
            key: values[0] if getattr(self, key) == "auto" else getattr(self, key) for key, values in offered.items()
        }
        for key, values in offered.items():
            self._require(device, key, chosen[key], values)
        if len(self.spread()) > 1:
            raise PlanError(f"parallel={self.parallel} names two kinds", fix="choose one of them")
        for kind, count in self.spread().items():
            if kind not in can.parallel:
                raise UnsupportedError(
                    f"parallel={self.parallel} is not supported on {device} ({device.name})",
                    fix=f"it supports: {', '.join(['none', *(f'{kind}=N' for kind in can.parallel)])}",
                )
            if self.batch % (count * self.accumulate):
                parts = f" in {self.accumulate} parts" if self.accumulate > 1 else ""
                raise PlanError(
                    f"parallel={self.parallel} does not divide batch={self.batch}{parts}",
                    fix=f"choose a batch that is a multiple of {count * self.accumulate}",
                )
        if self.threads is not None and not can.threads:
            raise UnsupportedError(
                f"threads={self.threads} has no meaning on {device}", fix="leave the key threads out"
            )
        return self.model_copy(update=chosen)

    def spread(self) -> dict[str, int]:
        """How many devices each kind of parallelism spreads over; empty for none."""
        if self.parallel == "none":
            return {}
        return {kind: int(count) for kind, _, count in (part.partition("=") for part in self.parallel.split(","))}

    @staticmethod
    def _require(device: Device, key: str, value: str, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            raise UnsupportedError(
                f"{key}={value} is not supported on {device} ({device.name})", fix=f"it supports: {', '.join(allowed)}"
            )

    def changes(self, other: Plan) -> dict[str, Any]:
        """The keys in which this plan differs from another, with this plan's values."""
        mine, theirs = self.model_dump(), other.model_dump()
        return {key: value for key, value in mine.items() if value != theirs[key]}
