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
        description="Number of passes over the training set. Default: the model's own.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of optimizer steps after which the run stops, even within an epoch. Default: no limit.",
    )
    lr: float | None = Field(default=None, gt=0, description="Learning rate. Default: the model's own.")
    schedule: Literal["constant", "cosine"] | None = Field(
        default=None,
        description="How the learning rate changes: constant, or cosine (decays to zero along a cosine). "
        "Default: the model's own.",
    )
    optimizer: OptimizerSection = Field(
        default_factory=lambda: OptimizerSection.model_validate({}),
        description="The optimizer and its constants. Default: the model's own.",
    )
    clip: float | None = Field(
        default=None,
        gt=0,
        description="Largest allowed norm of all gradients together. Larger gradients are scaled down. Default: "
        "no limit.",
    )
    out: str | None = Field(
        default=None,
        description="Folder for the record, the checkpoints and the model's files. Default: a new folder in runs/.",
    )
    resume: str | None = Field(
        default=None, description="Folder of a run to resume. The keys of that run apply unless they are given again."
    )
    accept: tuple[Literal["data"], ...] = Field(
        default=(),
        description="With resume: differences from the run that are accepted. data: the data or their split changed.",
    )
    checkpoint: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of optimizer steps between additional checkpoints. Default: only after every epoch.",
    )

    @field_validator("accept", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class BenchConfig(JobConfig):
    """The keys of ``hal bench``."""

    data: DataSection = Field(
        default_factory=lambda: DataSection.model_validate("synthetic"), description="The data to measure with."
    )
    mode: Literal["train", "infer"] = Field(
        default="train", description="What to measure: train (whole optimizer steps) or infer (the forward pass)."
    )
    seconds: float = Field(
        default=10.0, gt=0, le=LONGEST_S, description="Longest time to measure each plan after its warm-up, in seconds."
    )
    versus: PlanKeys | None = Field(
        default=None,
        description="A second plan, measured in turn with the first (A B A B): versus.<key>=VALUE for keys of "
        "the plan.",
    )
    out: str | None = Field(default=None, description="File to write the measurements to, as JSON.")

    @field_validator("data", mode="before")
    @classmethod
    def _synthetic(cls, value: Any) -> Any:
        return {"name": "synthetic", **value} if isinstance(value, dict) else value
