"""The keys that commands share, as pydantic models; each command's own stand beside the command."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hal.config.reading import build, plan_keys
from hal.contract.device import PrecisionName
from hal.contract.plan import Compile, Conv, Layout, Plan, Pool
from hal.errors import UnavailableError

__all__ = ["DataSection", "JobConfig", "Keys", "ModelSection", "NamedSection", "OptimizerSection", "PlanKeys"]


# A folder may be called 2026, which YAML reads as a number.
_STRICT = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Keys(BaseModel):
    """A section whose keys are all known; any other key is an error."""

    model_config = _STRICT


class NamedSection(BaseModel):
    """A section with a name and keys: ``model=cnn`` is short for ``model.name=cnn``."""

    model_config = _STRICT

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class ModelSection(NamedSection):
    """Which model, and its own keys, which the model checks."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(description="The model: cnn, rnn, gan, transfer, or path/to/file.py:ClassName.")

    def keys(self) -> dict[str, Any]:
        """The model's own keys."""
        return dict(self.model_extra or {})


class DataSection(NamedSection):
    """Which data, and what is done with them."""

    name: str | None = Field(
        default=None,
        description="The data: digits, topics, synthetic, mnist:DIR, images:DIR, npz:FILE or text:FILE. "
        "Default: digits, or topics for text.",
    )
    validation: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the samples held back for validation, where the data have no part of their own for it.",
    )
    augment: tuple[Literal["flip", "crop", "brightness"], ...] | None = Field(
        default=None,
        description="Random changes to training images: flip,crop,brightness or none. Default: the model's own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_augmentation(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("augment"), str):
            names = [part.strip() for part in value["augment"].split(",")]
            return {**value, "augment": [] if names == ["none"] else names}
        return value


class OptimizerSection(NamedSection):
    """Which optimizer, and its constants."""

    name: Literal["sgd", "adam", "adamw", "rmsprop"] | None = Field(
        default=None, description="The optimizer: sgd, adam, adamw or rmsprop."
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="Momentum of sgd.")
    beta1: float | None = Field(
        default=None, ge=0, lt=1, description="Decay of the mean of the gradients, in adam and adamw."
    )
    beta2: float | None = Field(
        default=None, ge=0, lt=1, description="Decay of the mean of the squared gradients, in adam and adamw."
    )
    decay: float | None = Field(
        default=None, ge=0, lt=1, description="Decay of the mean of the squared gradients, in rmsprop."
    )
    epsilon: float | None = Field(
        default=None,
        gt=0,
        description="Number added to the root of the mean square before dividing by it, in adam, adamw and rmsprop.",
    )
    weight_decay: float | None = Field(
        default=None, ge=0, description="Weight decay: decoupled in adamw, added to the gradients in the others."
    )

    def hyper(self) -> dict[str, float]:
        """The optimizer's constants that were given."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class PlanKeys(Keys):
    """Keys of a plan; what is left out comes from ``plan``."""

    batch: int | None = Field(default=None, ge=1, description="samples per optimizer step; unset: the model's")
    precision: PrecisionName | None = Field(default=None, description="fp32, tf32, bf16 or fp16; parameters stay fp32")
    layout: Layout | None = Field(default=None, description="physical order of images: nhwc, nchw or auto")
    compile: Compile | None = Field(
        default=None, description="how much the framework compiles: eager, default, max or auto (the device's)"
    )
    conv: Conv | None = Field(default=None, description="algorithm of convolutions: direct, patches or auto")
    pool: Pool | None = Field(default=None, description="algorithm of max-pooling: window, reshape or auto")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of the framework; unset: its own choice")
    parallel: str | None = Field(
        default=None,
        description="devices to spread over: none, dp=N to split each batch over N of them, or "
        "fsdp=N to split parameters too",
    )
    accumulate: int | None = Field(
        default=None, ge=1, description="parts that a batch is split into, gradients averaged"
    )

    def over(self, base: Plan) -> Plan:
        """A plan with these keys instead of its own.

        Raises:
            ConfigError: a value has no meaning.
        """
        given = {key: value for key in Plan.model_fields if (value := getattr(self, key)) is not None}
        return build(Plan, {**base.model_dump(), **given})


class JobConfig(PlanKeys):
    """The keys that every command on a model shares: what runs, where and how."""

    model: ModelSection | None = Field(
        default=None, description="The model to run. Its own keys are given as model.<key>."
    )
    backend: str = Field(
        default="auto",
        description="The backend: cpu, cuda, rocm, ..., or auto for the best one that is available here.",
    )
    device: int | str | None = Field(
        default=None, description="Which of the backend's devices: 0, 1, ..., or with its backend, as in cuda:1."
    )
    data: DataSection = Field(default_factory=lambda: DataSection.model_validate({}), description="The data to run on.")
    plan: str = Field(
        default="default", description="Where plan keys that are not given come from: default, tuned or a YAML file."
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the initial values, the order of the samples and all random draws."
    )

    @field_validator("backend", mode="before")
    @classmethod
    def _null(cls, value: Any) -> Any:
        return "null" if value is None else value  # YAML reads the backend's name as nothing

    def base_plan(self, batch: int, base: Plan | None = None) -> Plan:
        """The plan with this config's keys.

        Args:
            batch: the model's default.
            base: what ``plan=tuned`` stands for.

        Raises:
            ConfigError: the plan file holds a wrong key.
            NotFoundError: there is no such file.
            UnavailableError: no tuned plan is stored.
        """
        if self.plan == "tuned" and base is None:
            raise UnavailableError(
                "no tuned plan is stored for this device and workload",
                fix="use plan=default, or give the plan's keys in a file: plan=FILE.yaml",
            )
        if self.plan != "tuned" or base is None:
            base = Plan(batch=batch)
        if self.plan not in ("default", "tuned"):
            base = build(PlanKeys, plan_keys(self.plan)).over(base)
        return self.over(base)
