"""How to run a workload: the knobs that change speed and memory but not what is computed."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hal.errors import PlanError, UnsupportedError
from hal.hardware import Device, PrecisionName

__all__ = ["Plan"]

Layout = Literal["auto", "nhwc", "nchw"]
Compile = Literal["eager", "default", "max"]


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
    compile: Compile = Field(default="eager", description="how much the framework compiles: eager, default or max")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the framework; unset: the framework's choice"
    )
    parallel: str = Field(default="none", description="devices to spread over; no backend offers more than none yet")
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
        layout = can.layouts[0] if self.layout == "auto" else self.layout
        self._require(device, "layout", layout, can.layouts)
        self._require(device, "compile", self.compile, can.compile)
        self._require(device, "parallel", self.parallel, can.parallel)
        if self.threads is not None and not can.threads:
            raise UnsupportedError(
                f"threads={self.threads} has no meaning on {device}", fix="leave the key threads out"
            )
        return self.model_copy(update={"layout": layout})

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
