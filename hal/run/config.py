"""Keys of ``hal run`` and ``hal bench``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from hal.config import LONGEST_S, DataSection, JobConfig, OptimizerSection, PlanKeys
from hal.contract.plan import LARGEST_COUNT

__all__ = ["BenchConfig", "RunConfig"]


class RunConfig(JobConfig):
    """The keys of ``hal run``."""

    epochs: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="How often to go over the training data. Default: the model's own.",
    )
    steps: int | None = Field(default=None, ge=1, le=LARGEST_COUNT, description="Stop after this many optimizer steps.")
    lr: float | None = Field(default=None, gt=0, description="Learning rate. Default: the model's own.")
    schedule: Literal["constant", "cosine"] | None = Field(
        default=None,
        description="How the learning rate changes: constant, or cosine (it falls to zero). Default: the model's own.",
    )
    optimizer: OptimizerSection = Field(
        default_factory=lambda: OptimizerSection.model_validate({}),
        description="Which optimizer. Default: the model's own.",
    )
    clip: float | None = Field(
        default=None,
        gt=0,
        description="Largest norm of all gradients together; larger ones are scaled down. Default: no limit.",
    )
    out: str | None = Field(
        default=None,
        description="Folder for the record, the checkpoints and the model's files. Default: a new folder in runs/.",
    )
    resume: str | None = Field(
        default=None, description="Folder of a run to continue. Its keys apply unless they are given again."
    )
    checkpoint: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="Save a checkpoint after every so many optimizer steps too. Default: after every epoch alone.",
    )


class BenchConfig(JobConfig):
    """The keys of ``hal bench``."""

    data: DataSection = Field(
        default_factory=lambda: DataSection.model_validate("synthetic"), description="Which data to measure with."
    )
    mode: Literal["train", "infer"] = Field(
        default="train", description="What to measure: train (whole optimizer steps) or infer (the forward pass)."
    )
    seconds: float = Field(
        default=10.0, gt=0, le=LONGEST_S, description="Longest time to measure each plan after its warm-up (s)."
    )
    versus: PlanKeys | None = Field(
        default=None, description="A second plan, measured in turn with the first (A B A B): versus.<plan key>=..."
    )
    out: str | None = Field(default=None, description="File to write the measurements to, as JSON.")

    @field_validator("data", mode="before")
    @classmethod
    def _synthetic(cls, value: Any) -> Any:
        return {"name": "synthetic", **value} if isinstance(value, dict) else value
