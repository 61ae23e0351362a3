"""Keys of ``hal run`` and ``hal bench``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from hal.config import LONGEST_S, DataSection, JobConfig, NamedSection, OptimizerSection, PlanKeys
from hal.contract.plan import LARGEST_COUNT
from hal.errors import ConfigError

__all__ = ["BenchConfig", "RunConfig", "ScheduleName", "ScheduleSection"]

ScheduleName = Literal["constant", "cosine", "step", "onecycle"]


_SCHEDULES_OF = {
    "warmup": ("constant", "cosine", "step"),
    "every": ("step",),
    "factor": ("step",),
    "least": ("cosine",),
    "rise": ("onecycle",),
}
"""The schedules that each constant belongs to."""


class ScheduleSection(NamedSection):
    """How the learning rate changes, and the constants of that."""

    name: ScheduleName | None = Field(
        default=None,
        description="How the learning rate changes: constant, cosine (decays along a cosine), step (is multiplied by "
        "schedule.factor every schedule.every epochs) or onecycle (rises to lr and falls to almost zero). "
        "Default: the model's own.",
    )
    warmup: int = Field(
        default=0,
        ge=0,
        le=LARGEST_COUNT,
        description="Number of optimizer steps over which the learning rate rises from zero first, for constant, "
        "cosine and step.",
    )
    every: int = Field(
        default=10, ge=1, le=LARGEST_COUNT, description="Number of epochs between two changes, for step."
    )
    factor: float = Field(default=0.1, gt=0, le=1, description="What the learning rate is multiplied by, for step.")
    least: float = Field(
        default=0.0, ge=0, lt=1, description="Fraction of the learning rate that remains at the end, for cosine."
    )
    rise: float = Field(
        default=0.3, gt=0, lt=1, description="Fraction of the steps in which the learning rate rises, for onecycle."
    )

    @model_validator(mode="after")
    def _of_the_schedule(self) -> Self:
        if self.name is None:
            return self
        for key, names in _SCHEDULES_OF.items():
            if self.name not in names and getattr(self, key) != type(self).model_fields[key].default:
                raise ConfigError(
                    f"schedule.{key}= is for schedule={' and '.join(names)}, not for schedule={self.name}",
                    fix=f"leave schedule.{key}= out",
                )
        return self


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
    schedule: ScheduleSection = Field(
        default_factory=lambda: ScheduleSection.model_validate({}),
        description="How the learning rate changes. Default: the model's own.",
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
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay rate of an exponential moving average of the parameters, for example 0.999. The model is "
        "evaluated and used with the averages. Default: no averages.",
    )
    class_weights: Literal["balanced"] | tuple[PositiveFloat, ...] | None = Field(
        default=None,
        description="Weights of the classes in the training loss: balanced (rare classes count more) or one number for "
        "each class, separated by commas. Default: all samples count alike.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the training target that is spread evenly over all classes.",
    )
    keep: Literal["best", "last", "all"] | Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = Field(
        default="best",
        description="Which checkpoints remain: best (that of the best epoch, beside the last two), last (the last "
        "two), all, or a number N (the best and the last N).",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of epochs without improvement of the model's metric after which the run stops. With "
        "several phases, those of the last phase count. Default: no early stop.",
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

    log: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        default=(),
        description="Where else the numbers of each epoch go, separated by commas: tensorboard (into the run's "
        "folder), wandb or mlflow, each through its own package.",
    )

    @field_validator("accept", "log", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) and value != "balanced" else value


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
