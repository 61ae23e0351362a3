"""From keys to a model on its data: what a job here and a job for hardware that is not present have in common."""

from __future__ import annotations

from dataclasses import dataclass

from hal.config import DataSection, ModelSection
from hal.data import Split, Wanted, check_classes, load
from hal.errors import ConfigError
from hal.nn import Defaults, Model, ModelConfig
from hal.workload import Workload, configure, model_class

__all__ = ["ModelChoice", "ResolvedWorkload", "choose_model", "resolve_workload"]


@dataclass(frozen=True)
class ModelChoice:
    """A model before it sees its data.

    Attributes:
        name: as the user wrote it.
        cls: the class of that name.
        keys: the model's own keys, checked and complete.
        defaults: how the model is trained unless the user says otherwise.
    """

    name: str
    cls: type[Model]
    keys: ModelConfig
    defaults: Defaults


@dataclass(frozen=True)
class ResolvedWorkload:
    """A model on its data.

    Attributes:
        model: built for the shapes of the data.
        split: the data, in the form that the model takes.
        workload: what a record says of both.
        augment: changes to training images.
    """

    model: Model
    split: Split
    workload: Workload
    augment: tuple[str, ...]


def choose_model(section: ModelSection | None) -> ModelChoice:
    """Find a model and check its keys; reads no data.

    Raises:
        ConfigError: no model is named, there is none of that name, or one of its keys is wrong.
        NotFoundError: there is no such file.
    """
    if section is None:
        raise ConfigError("no model was given", fix="add a model, for example model=cnn")
    cls = model_class(section.name)
    keys = configure(cls, section.keys())
    return ModelChoice(section.name, cls, keys, cls.defaults_for(keys))


def resolve_workload(choice: ModelChoice, data: DataSection, mode: str, seed: int) -> ResolvedWorkload:
    """Load the data and build the model for them.

    Args:
        choice: the model.
        data: the keys of the data; what is left out comes from the model's defaults.
        mode: what is done with the model: train or infer.
        seed: decides which samples are held back for validation.

    Raises:
        ConfigError: the data do not suit the model, or a key of the data is wrong.
        NotFoundError: a file is not there.
        DataError: a file is damaged.
    """
    split, source, kind = _split(choice, data, seed)
    if choice.cls.supervised and split.train.labels is None:
        raise ConfigError(
            f"data={source} has no labels, but model={choice.name} learns from labels",
            fix="store the labels with the inputs, or use a model that needs no labels, for example model=gan",
        )
    if choice.cls.supervised and not split.train.vocabulary:
        check_classes(split)
    if data.augment and kind != "image":
        raise ConfigError(
            f"data.augment changes images, but model={choice.name} takes {kind} data",
            fix="leave data.augment out",
        )
    workload = Workload.model_validate(
        {
            "model": choice.name,
            "keys": choice.keys.model_dump(mode="json"),
            "data": source,
            "mode": mode,
            "input_shape": tuple(split.train.inputs.shape),
        }
    )
    augment = choice.defaults.augment if data.augment is None else tuple(data.augment)
    return ResolvedWorkload(choice.cls(choice.keys, split.train), split, workload, augment)


def _split(choice: ModelChoice, data: DataSection, seed: int) -> tuple[Split, str, str]:
    """The data, their name, and their kind, which is ``its own`` for what a model brings with it."""
    own, named = None, data.name
    if named is None or named.partition(":")[0] == "synthetic":
        own = choice.cls.own_split(choice.keys, named=named, validation=data.validation, seed=seed)
    if own is not None:
        if data.size is not None:
            raise ConfigError(
                f"data.size is for images that hal reads, but model={choice.name} brings its own data",
                fix="leave data.size out, or name data with data=",
            )
        return own, own.train.name, "its own"
    wanted = choice.cls.wanted(choice.keys)
    if named == "synthetic" and 0 in wanted.shape and data.size is None:
        named = None  # of a size for which the model was not made it may not run
    source = named or choice.defaults.data
    if data.size is not None:
        if wanted.kind != "image" or 0 not in wanted.shape[:2]:
            raise ConfigError(
                f"data.size is for models that take images of any size, but model={choice.name} takes "
                f"{wanted.kind} data of shape {wanted.shape}",
                fix="leave data.size out",
            )
        wanted = Wanted("image", (data.size, data.size, wanted.shape[2]))
    return load(source, wanted, validation=data.validation, seed=seed, options=data.options()), source, wanted.kind
