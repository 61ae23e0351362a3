"""Keys of ``hal verify``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from hal.config import JobConfig
from hal.contract.plan import Compile, Plan

__all__ = ["VerifyConfig"]

_VERIFIED_BATCH = 16


class VerifyConfig(JobConfig):
    """Keys of ``hal verify``."""

    backends: tuple[str, ...] | None = Field(
        default=None, description="devices to compare, the first of them the reference: cpu,jax or cpu,cuda:0,cuda:1"
    )
    record: str | None = Field(default=None, description="folder to write a trace of one device to, for against=")
    against: str | None = Field(
        default=None, description="folder with a trace to compare one device with; what it ran is run here"
    )
    steps: int = Field(default=20, ge=1, description="optimizer steps to compare the loss over")
    out: str | None = Field(default=None, description="file for all deviations as JSON")

    @field_validator("backends", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("compile")
    @classmethod
    def _eagerly(cls, value: Compile | None) -> Compile | None:
        if value not in (None, "eager"):
            raise ValueError("ops are compared one by one, which compile=eager alone allows; leave the key out")
        return value

    @field_validator("parallel")
    @classmethod
    def _alone(cls, value: str | None) -> str | None:
        if value not in (None, "none"):
            raise ValueError("ops are compared on one device each; leave the key out")
        return value

    def base_plan(self, batch: int, base: Plan | None = None) -> Plan:
        """The plan with this config's keys, eager and with few samples, since every result is kept."""
        return super().base_plan(min(batch, _VERIFIED_BATCH), base).model_copy(update={"compile": "eager"})
