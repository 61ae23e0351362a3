"""Keys of ``hal compile``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hal.config import DataSection, ModelSection, PlanKeys, build, plan_keys
from hal.contract.plan import Plan

__all__ = ["CompileConfig"]


class CompileConfig(PlanKeys):
    """Keys of ``hal compile``."""

    model: ModelSection | None = Field(default=None, description="what to build; its own keys as model.<key>")
    target: str | None = Field(
        default=None, description="hardware to build for: tpu-v5e:2x2, tpu7x:2x2x1, h100, a100-80gb, rocm:gfx942, ..."
    )
    mode: Literal["train", "infer"] = Field(
        default="train", description="train: an optimizer step; infer: forward alone"
    )
    data: DataSection = Field(
        default_factory=lambda: DataSection.model_validate({}), description="whose shapes and classes count"
    )
    plan: str = Field(default="default", description="where plan keys left out come from: default or a YAML file")
    largest: bool = Field(default=True, description="whether to search for the largest batch that fits")
    seconds: float = Field(default=55.0, gt=0, description="the search ends then, counted from the command's start")
    out: str | None = Field(default=None, description="new folder for StableHLO, optimised HLO, memory and cost")

    def base_plan(self, batch: int) -> Plan:
        """The plan with this config's keys; batch is the model's default.

        Raises:
            ConfigError: the plan file holds a wrong key.
            NotFoundError: there is no such file.
        """
        base = Plan(batch=batch)
        if self.plan != "default":
            base = build(PlanKeys, plan_keys(self.plan)).over(base)
        return self.over(base)
