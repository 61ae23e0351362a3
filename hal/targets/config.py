"""The keys of ``hal compile``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hal.config import LONGEST_S, DataSection, ModelSection, PlanKeys, build, plan_keys
from hal.contract.plan import Plan

__all__ = ["CompileConfig"]


class CompileConfig(PlanKeys):
    """The keys of ``hal compile``."""

    model: ModelSection | None = Field(
        default=None, description="The model to compile. Its own keys are given as model.<key>."
    )
    target: str | None = Field(
        default=None,
        description="The hardware to compile for: tpu-v5e:2x2, tpu7x:2x2x1, h100, a100-80gb, rocm:gfx942, ...",
    )
    mode: Literal["train", "infer"] = Field(
        default="train", description="What to compile: train (an optimizer step) or infer (the forward pass)."
    )
    data: DataSection = Field(
        default_factory=lambda: DataSection.model_validate({}),
        description="The data that decide the shapes of the inputs and the number of classes.",
    )
    plan: str = Field(
        default="default", description="Where plan keys that are not given come from: default or a YAML file."
    )
    largest: bool = Field(default=True, description="Whether to search for the largest batch that fits.")
    seconds: float = Field(
        default=55.0,
        gt=0,
        le=LONGEST_S,
        description="Time limit of that search (s), counted from the start of the command.",
    )
    out: str | None = Field(
        default=None, description="New folder to write StableHLO, optimised HLO, memory and cost to."
    )

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
