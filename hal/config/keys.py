"""The keys that commands share, as pydantic models. The keys of a single command are defined beside that command."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, Optional, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from hal.config.reading import build, is_text
from hal.config.yaml_text import parse_file, resolve
from hal.contract.plan import LARGEST_COUNT, Plan
from hal.errors import ConfigError, UnavailableError
from hal.util.paths import user_path

__all__ = [
    "LARGEST_SEED",
    "LONGEST_S",
    "DataSection",
    "JobConfig",
    "Keys",
    "ModelSection",
    "NamedSection",
    "OptimizerSection",
    "PlanKeys",
    "constrained",
    "keys_like",
    "plan_keys",
]

LONGEST_S = 1e8
"""The largest number of seconds that a key may be: three years, which every clock and timer can count."""

LARGEST_SEED = 2**32 - 1
"""The largest seed that the random number generators of all frameworks take."""

M = TypeVar("M", bound=BaseModel)


# A folder may be called 2026, which YAML reads as a number.
_STRICT = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)


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

    name: str = Field(
        description="The model: cnn, rnn, gan, transformer, transfer, mlp, or one of your own as path/to/file.py:Name "
        "or package.module:Name, a torch.nn.Module or a hal.nn.Model."
    )

    def keys(self) -> dict[str, Any]:
        """The model's own keys."""
        return dict(self.model_extra or {})


Augmentation = Literal["flip", "crop", "brightness", "rotate", "scale", "color"]


class DataSection(NamedSection):
    """Which data, and what is done with them."""

    name: str | None = Field(
        default=None,
        description="The data: digits, topics, docstrings, synthetic, mnist:DIR, images:DIR, npz:FILE, text:FILE, "
        "texts:DIR, csv:FILE, parquet:FILE, hf:NAME_OR_DIR, or a function of your own as path/to/file.py:function or "
        "package.module:function. Default: digits, topics for text, or docstrings for texts with classes.",
    )
    validation: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Fraction of the samples to hold out for validation, if the data has no validation set of its own.",
    )
    size: int | None = Field(
        default=None,
        ge=1,
        le=8192,
        description="Height and width that images are resized to, for a model that takes images of any size. Default: "
        "their own, or 224 for images:DIR.",
    )
    text: str | None = Field(
        default=None,
        description="Name of the column that holds the texts, for csv:FILE. Default: a column with a usual name, "
        "such as text.",
    )
    label: str | None = Field(
        default=None,
        description="Name of the column that holds the label, for csv:FILE, parquet:FILE and hf:NAME_OR_DIR; several "
        "columns of numbers or of tags are separated by commas. Default: a column with a usual name, such as label.",
    )
    features: str | None = Field(
        default=None,
        description="Names of the columns of numbers to learn from, separated by commas, for csv:FILE, parquet:FILE "
        "and hf:NAME_OR_DIR. Default: all columns of numbers except the label.",
    )
    task: Literal["classify", "regress", "tags"] | None = Field(
        default=None,
        description="What the labels are: classify (one class), regress (numbers) or tags (columns of 0 and 1), for "
        "tables, npz:FILE and functions. Default: what the values look like.",
    )
    skip_bad: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="How many damaged images of images:DIR, or lines of a table, may be left out; the run lists them "
        "in skipped.txt. All images are decoded before the run then. Default: none.",
    )
    augment: tuple[Augmentation, ...] | None = Field(
        default=None,
        description="Random changes to the training images: flip, crop, brightness, rotate, scale and color, separated "
        "by commas, or none. Default: the model's own.",
    )

    def options(self) -> dict[str, Any]:
        """The keys that only some sources know, as far as they were given."""
        names = ("text", "label", "features", "task", "skip_bad")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

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
        default=None, description="The optimizer: sgd, adam, adamw or rmsprop. Default: the model's own."
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="Momentum, for sgd.")
    beta1: float | None = Field(
        default=None, ge=0, lt=1, description="Decay rate of the running mean of the gradients, for adam and adamw."
    )
    beta2: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Decay rate of the running mean of the squared gradients, for adam and adamw.",
    )
    decay: float | None = Field(
        default=None, ge=0, lt=1, description="Decay rate of the running mean of the squared gradients, for rmsprop."
    )
    epsilon: float | None = Field(
        default=None,
        gt=0,
        description="Small number added to the denominator of the update to avoid a division by zero, for adam, "
        "adamw and "
        "rmsprop.",
    )
    weight_decay: float | None = Field(
        default=None, ge=0, description="Weight decay: decoupled for adamw, added to the gradients for the others."
    )

    def hyper(self) -> dict[str, float]:
        """The optimizer's constants that were given."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


def keys_like(
    source: type[BaseModel], key: Callable[[str, FieldInfo], tuple[Any, str | None]]
) -> Callable[[type[M]], type[M]]:
    """A class decorator that gives a model the keys of another, none of them required, so that they are declared once.

    Args:
        source: where the keys come from.
        key: makes of a key's name and its field in ``source`` the type and the description that it gets.
    """

    def extended(cls: type[M]) -> type[M]:
        keys: dict[str, Any] = {}
        for name, field in source.model_fields.items():
            kind, description = key(name, field)
            keys[name] = (kind, Field(default=None, description=description))
        return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, __doc__=cls.__doc__, **keys)

    return extended


def constrained(kind: Any, field: FieldInfo) -> Any:
    """A type with the constraints of a field, such as the least value."""
    return Annotated[kind, *field.metadata] if field.metadata else kind


def _optional(name: str, field: FieldInfo) -> tuple[Any, str | None]:
    return constrained(Optional[field.annotation], field), field.description  # noqa: UP045 - types lack the operator |


@keys_like(Plan, _optional)
class PlanKeys(Keys):
    """Keys of a plan. Keys that are left out come from ``plan``."""

    def given(self) -> dict[str, Any]:
        """The keys of the plan that were given, with their values."""
        return {key: value for key in Plan.model_fields if (value := getattr(self, key)) is not None}

    def over(self, base: Plan) -> Plan:
        """A plan with these keys instead of its own.

        Raises:
            ConfigError: a value is not valid.
        """
        return build(Plan, {**base.model_dump(), **self.given()})


def plan_keys(plan: str) -> PlanKeys:
    """The keys of a plan in a file.

    Raises:
        ConfigError: the file holds something else, or a wrong key.
        NotFoundError: there is no such file.
    """
    file = user_path(plan)
    near = difflib.get_close_matches(plan, ("default", "tuned"), n=1)
    if near and not file.exists():
        raise ConfigError(f"plan={plan} is not a file; did you mean {near[0]}?", fix=f"write plan={near[0]}")
    keys = resolve(parse_file(file, partial(is_text, PlanKeys)))
    if "model" in keys or "backend" in keys:
        raise ConfigError(
            f"plan={plan} contains other keys than those of a plan", fix=f"read all of its keys with --config {plan}"
        )
    return build(PlanKeys, keys, plan)


class JobConfig(PlanKeys):
    """The keys that every command on a model shares: what runs, where and how."""

    model: ModelSection | None = Field(
        default=None, description="The model to run. Its own keys are given as model.<key>."
    )
    backend: str = Field(
        default="auto",
        description="The backend: cpu, cuda, rocm, ..., or auto (the best one that is available).",
    )
    device: int | str | None = Field(
        default=None,
        description="The device: its index in the backend (0, 1, ...), or its full name, such as cuda:1. "
        "Default: the backend's first device.",
    )
    data: DataSection = Field(default_factory=lambda: DataSection.model_validate({}), description="The data to run on.")
    weights: str | None = Field(
        default=None,
        description="File with the weights that a torch.nn.Module of your own starts from: .safetensors, or .pth with "
        "a state_dict.",
    )
    plan: str = Field(
        default="default",
        description="Source of the plan keys that are not given: default, tuned (the plan that hal tune stored) "
        "or FILE.yaml.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        description="Seed of the initial parameters, the order of the samples and all other random numbers.",
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
                fix="use plan=default, or write the keys of the plan to a file and use plan=FILE.yaml",
            )
        if self.plan != "tuned" or base is None:
            base = Plan(batch=batch)
        if self.plan not in ("default", "tuned"):
            base = plan_keys(self.plan).over(base)
        return self.over(base)
