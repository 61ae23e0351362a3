"""The keys of ``hal compile``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hal.config import LONGEST_S, DataSection, ModelSection, PlanKeys, plan_keys
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
        description="The data, from which the shapes of the inputs and the number of classes follow.",
    )
    plan: str = Field(
        default="default", description="Source of the plan keys that are not given: default or FILE.yaml."
    )
    largest: bool = Field(default=True, description="Whether to search for the largest batch that fits.")
    seconds: float = Field(
        default=55.0,
        gt=0,
        le=LONGEST_S,
        description="Time limit of the search for the largest batch, in seconds from the start of the command.",
    )
    out: str | None = Field(
        default=None,
        description="New folder for the StableHLO, the optimized HLO, the memory use and the cost. Default: "
        "nothing is written.",
    )

    def base_plan(self, batch: int) -> Plan:
        """The plan with this config's keys; batch is the model's default.

        Raises:
            ConfigError: the plan file holds a wrong key.
            NotFoundError: there is no such file.
        """
        base = Plan(batch=batch)
        if self.plan != "default":
            base = plan_keys(self.plan).over(base)
        return self.over(base)
