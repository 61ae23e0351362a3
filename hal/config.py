"""The configuration of every command: one pydantic model each, filled from a YAML file and ``key=value`` pairs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hal.errors import ConfigError, NotFoundError, UnavailableError
from hal.hardware import PrecisionName
from hal.plan import Compile, Conv, Layout, Plan, Pool

__all__ = [
    "BenchConfig",
    "CompileConfig",
    "Keys",
    "PlanKeys",
    "RunConfig",
    "TargetConfig",
    "VerifyConfig",
    "build",
    "explain",
    "read",
    "without_password",
]


# A folder may be called 2026, which YAML reads as a number.
_STRICT = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Keys(BaseModel):
    """Keys of which each is known."""

    model_config = _STRICT


class _Named(BaseModel):
    """A section with a name and keys: ``model=cnn`` is short for ``model.name=cnn``."""

    model_config = _STRICT

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class ModelSection(_Named):
    """Which model, and its own keys, which the model checks."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(description="cnn, rnn, gan, transfer, or path/to/file.py:ClassName")

    def keys(self) -> dict[str, Any]:
        """The model's own keys."""
        return dict(self.model_extra or {})


class DataSection(_Named):
    """Which data."""

    name: str | None = Field(
        default=None,
        description="digits, topics, synthetic, mnist:DIR, images:DIR, npz:FILE or text:FILE; "
        "unset: digits, or topics for text",
    )
    validation: float = Field(
        default=0.2, gt=0, lt=1, description="share held back, where the source does not say itself"
    )
    augment: tuple[Literal["flip", "crop", "brightness"], ...] | None = Field(
        default=None, description="changes to training images: any of flip,crop,brightness, or none; unset: the model's"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_augmentation(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("augment"), str):
            names = [part.strip() for part in value["augment"].split(",")]
            return {**value, "augment": [] if names == ["none"] else names}
        return value


class OptimizerSection(_Named):
    """Which optimizer, and its constants."""

    name: Literal["sgd", "adam", "adamw", "rmsprop"] | None = Field(
        default=None, description="sgd, adam, adamw or rmsprop"
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="of sgd")
    beta1: float | None = Field(default=None, ge=0, lt=1, description="decay of the mean, of adam and adamw")
    beta2: float | None = Field(default=None, ge=0, lt=1, description="decay of the squares, of adam and adamw")
    decay: float | None = Field(default=None, ge=0, lt=1, description="decay of the squares, of rmsprop")
    epsilon: float | None = Field(default=None, gt=0, description="added to the root of the squares")
    weight_decay: float | None = Field(
        default=None, ge=0, description="decoupled in adamw, added to gradients otherwise"
    )

    def hyper(self) -> dict[str, float]:
        """The constants that were given."""
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


class TargetConfig(PlanKeys):
    """What, where and how: the keys that every command on a model shares."""

    model: ModelSection | None = Field(default=None, description="what to run; its own keys as model.<key>")
    backend: str = Field(default="auto", description="cpu, cuda, rocm, ... or auto: the best one here")
    device: int | str | None = Field(default=None, description="which of the backend's devices: 0, 1, ... or cuda:1")
    data: DataSection = Field(default_factory=lambda: DataSection.model_validate({}), description="what to run on")
    plan: str = Field(
        default="default", description="where plan keys left out come from: default, tuned or a YAML file"
    )
    seed: int = Field(default=0, ge=0, description="of initial values, order and dropout")

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
            base = build(PlanKeys, _plan_keys(self.plan)).over(base)
        return self.over(base)


class RunConfig(TargetConfig):
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


class BenchConfig(TargetConfig):
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
            base = build(PlanKeys, _plan_keys(self.plan)).over(base)
        return self.over(base)


class VerifyConfig(TargetConfig):
    """Keys of ``hal verify``."""

    backends: tuple[str, ...] | None = Field(
        default=None, description="devices to compare, the first of them the reference: cpu,jax or cpu,cuda:0,cuda:1"
    )
    record: str | None = Field(default=None, description="folder to write a trace of one device to, for against=")
    against: str | None = Field(
        default=None, description="folder with a trace to compare one device with; what it ran is run here"
    )
    steps: int = Field(default=20, ge=1, description="optimizer steps to compare the loss over")
    out: str | None = Field(default=None, description="file for all deviations as JSON")

    @field_validator("backends", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("compile")
    @classmethod
    def _eagerly(cls, value: Compile | None) -> Compile | None:
        if value not in (None, "eager"):
            raise ValueError("ops are compared one by one, which compile=eager alone allows; leave the key out")
        return value

    @field_validator("parallel")
    @classmethod
    def _alone(cls, value: str | None) -> str | None:
        if value not in (None, "none"):
            raise ValueError("ops are compared on one device each; leave the key out")
        return value

    def base_plan(self, batch: int, base: Plan | None = None) -> Plan:
        """The plan with this config's keys, eager and with few samples, since every result is kept."""
        return super().base_plan(min(batch, _VERIFIED_BATCH), base).model_copy(update={"compile": "eager"})


C = TypeVar("C", bound=BaseModel)
_VERIFIED_BATCH = 16
_SECTIONS = ("model", "data", "optimizer")


def read(pairs: Sequence[str], file: Path | None = None) -> dict[str, Any]:
    """Nested keys from ``key=value`` pairs over a YAML file; values are parsed as YAML.

    Raises:
        ConfigError: a pair without ``=``, or something that is no YAML.
        NotFoundError: the file is not there or cannot be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    layers = []
    if file is not None:
        try:
            loaded: Any = OmegaConf.load(file)
        except OSError as error:
            if error.errno is None:  # OmegaConf's word for a file that holds a single value
                raise ConfigError(f"{file} should hold keys and values, one a line: key: value") from error
            raise NotFoundError(f"cannot read {file}: {error.strerror}", fix="check the path") from error
        except (YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} is not YAML: {error}") from error
        if not OmegaConf.is_dict(loaded):
            raise ConfigError(f"{file} should hold keys and values, one a line: key: value")
        for section in _SECTIONS:
            if isinstance(loaded.get(section), str):
                loaded[section] = {"name": loaded[section]}
        for key in [key for key in loaded if isinstance(key, str) and "." in key]:
            OmegaConf.update(loaded, key, loaded.pop(key), force_add=True)
        layers.append(loaded)
    dotted = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            said = without_password(pair)
            raise ConfigError(f"{said!r} is not key=value", fix="write for example: model=cnn, without spaces around =")
        dotted.append(f"{key}.name={value}" if key in _SECTIONS else pair)
    try:
        merged = OmegaConf.merge(*layers, OmegaConf.from_dotlist(dotted))
        found = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        said = f"cannot understand {' '.join(pairs)}: {str(error).splitlines()[0]}"
        raise ConfigError(without_password(said)) from error
    return dict(found)  # type: ignore[arg-type]


def build(cls: type[C], keys: Mapping[str, Any]) -> C:
    """A config from nested keys.

    Raises:
        ConfigError: a key or value is wrong; each is named, with the nearest known key.
    """
    try:
        return cls.model_validate(keys)
    except ValidationError as error:
        raise ConfigError(explain(error, cls)) from None


def explain(error: ValidationError, cls: type[BaseModel], prefix: str = "") -> str:
    """What is wrong with a configuration, one line a mistake."""
    known = list(_dotted(cls, ""))
    lines = []
    items = error.errors(include_url=False)
    wrong_inside = {item["loc"][:-1] for item in items if item["loc"] and isinstance(item["loc"][-1], int)}
    for item in items:
        place = ".".join(str(part) for part in item["loc"] if part != 0)  # of a list of one, mostly
        if item["loc"] in wrong_inside:
            continue  # a list is too short as well, without what is wrong in it
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(place, known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; keys: {', '.join(prefix + k for k in known)}"
            lines.append(f"unknown key {prefix}{place}{hint}")
        elif item["type"] == "missing":
            lines.append(f"{prefix}{place.removesuffix('.name')} is missing")
        else:
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"{prefix}{place}={item['input']}: {said[:1].lower()}{said[1:]}")
    return without_password("\n".join(lines))


def _plan_keys(plan: str) -> dict[str, Any]:
    """The keys of a plan in a file."""
    file = Path(plan).expanduser()
    near = difflib.get_close_matches(plan, ("default", "tuned"), n=1)
    if near and not file.exists():
        raise ConfigError(f"plan={plan} is no file; did you mean {near[0]}?", fix=f"plan={near[0]}")
    keys = read([], file)
    if "model" in keys or "backend" in keys:
        raise ConfigError(f"plan={plan} holds more than a plan", fix=f"use all of it: --config {plan}")
    return keys


def without_password(text: str) -> str:
    """A text without the passwords of the URLs in it.

    >>> without_password("storage=postgresql://user:secret@host/name")
    'storage=postgresql://user@host/name'
    >>> without_password("postgresql://host/name?user=me&password=secret")
    'postgresql://host/name?user=me'
    """
    text = re.sub(r"(\w+://[^\s/@:]*):[^\n'\"]*@", r"\1@", text)  # rather too much than too little
    text = re.sub(r"(?<=[?&])(?:ssl)?password=[^&\s'\"]*&", "", text)  # one that others follow
    return re.sub(r"[?&](?:ssl)?password=[^&\s'\"]*", "", text)


def _dotted(cls: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, field in cls.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            yield prefix + name
        elif issubclass(section, _Named):
            yield prefix + name
            yield from (k for k in _dotted(section, f"{prefix}{name}.") if k != f"{prefix}{name}.name")
        else:
            yield from _dotted(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model class in an annotation such as ``PlanKeys | None``; None: a plain value."""
    candidates = getattr(annotation, "__args__", (annotation,))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
