"""The keys of ``hal verify``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from hal.config import JobConfig
from hal.contract.plan import LARGEST_COUNT, Compile, Plan

__all__ = ["VerifyConfig"]

_VERIFIED_BATCH = 16


class VerifyConfig(JobConfig):
    """The keys of ``hal verify``."""

    backends: tuple[str, ...] | None = Field(
        default=None,
        description="The devices to compare, for example cpu,jax or cpu,cuda:0,cuda:1. The first is the reference.",
    )
    record: str | None = Field(
        default=None,
        description="New folder to write a trace of one device to. To compare another device with it, use against=.",
    )
    against: str | None = Field(
        default=None,
        description="Folder of a trace to compare one device with. The model and the keys come from the trace.",
    )
    steps: int = Field(
        default=20, ge=1, le=LARGEST_COUNT, description="Number of optimizer steps after which the losses are compared."
    )
    out: str | None = Field(default=None, description="File to write all deviations to, as JSON.")

    @field_validator("backends", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("compile")
    @classmethod
    def _eagerly(cls, value: Compile | None) -> Compile | None:
        if value not in (None, "eager"):
            raise ValueError("hal verify compares op by op, which needs compile=eager; leave compile= out")
        return value

    @field_validator("parallel")
    @classmethod
    def _alone(cls, value: str | None) -> str | None:
        if value not in (None, "none"):
            raise ValueError("hal verify uses a single device on each side of the comparison; leave parallel= out")
        return value

    def base_plan(self, batch: int, base: Plan | None = None) -> Plan:
        """The plan with this config's keys: eager, and with few samples unless batch= is given: each result is kept."""
        return super().base_plan(min(batch, _VERIFIED_BATCH), base).model_copy(update={"compile": "eager"})
