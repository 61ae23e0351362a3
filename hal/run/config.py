"""Keys of ``hal run`` and ``hal bench``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from hal.config import DataSection, JobConfig, OptimizerSection, PlanKeys

__all__ = ["BenchConfig", "RunConfig"]


class RunConfig(JobConfig):
    """Keys of ``hal run``."""

    epochs: int | None = Field(default=None, ge=1, description="passes over the data; unset: the model's")
    steps: int | None = Field(default=None, ge=1, description="stop after so many optimizer steps")
    lr: float | None = Field(default=None, gt=0, description="learning rate; unset: the model's")
    schedule: Literal["constant", "cosine"] | None = Field(
        default=None, description="of the learning rate: constant or cosine"
    )
    optimizer: OptimizerSection = Field(
        default_factory=lambda: OptimizerSection.model_validate({}), description="unset: the model's"
    )
    clip: float | None = Field(default=None, gt=0, description="largest norm of all gradients together")
    out: str | None = Field(
        default=None, description="folder for record, checkpoints and samples; unset: a new one in runs/"
    )
    resume: str | None = Field(
        default=None, description="folder of a run to go on with; its keys hold unless given anew"
    )
    checkpoint: int | None = Field(default=None, ge=1, description="steps between checkpoints; unset: one each epoch")


class BenchConfig(JobConfig):
    """Keys of ``hal bench``."""

    data: DataSection = Field(
        default_factory=lambda: DataSection.model_validate("synthetic"), description="what to run on"
    )
    mode: Literal["train", "infer"] = Field(default="train", description="train: optimizer steps; infer: forward alone")
    seconds: float = Field(default=10.0, gt=0, description="longest time in the steady state, for each plan")
    versus: PlanKeys | None = Field(
        default=None, description="a second plan, measured in turn with the first (A B A B): versus.<plan key>=..."
    )
    out: str | None = Field(default=None, description="file for the measurements as JSON")

    @field_validator("data", mode="before")
    @classmethod
    def _synthetic(cls, value: Any) -> Any:
        return {"name": "synthetic", **value} if isinstance(value, dict) else value
