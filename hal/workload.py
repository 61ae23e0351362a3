"""What is to be run: a model with its keys, and the data it is run on."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hal.errors import ConfigError
from hal.util.code import file_module, package_module
from hal.util.links import links_explained
from hal.util.model_files import files_with, models_in
from hal.util.paths import user_path

if TYPE_CHECKING:
    from hal.nn import Model, ModelConfig

__all__ = ["BUILT_IN", "Workload", "configure", "model_class", "short_name"]

_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

BUILT_IN = {
    "cnn": "hal.models.cnn:CNN",
    "rnn": "hal.models.rnn:RNN",
    "gan": "hal.models.gan:GAN",
    "transformer": "hal.models.transformer:Transformer",
    "transfer": "hal.models.transfer:Transfer",
    "mlp": "hal.models.mlp:MLP",
}


class Workload(BaseModel):
    """A model with its keys, its data and what is done with it; the same workload can be run by any plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Name of a built-in model, path/to/file.py:Name or package.module:Name.")
    keys: dict[str, Any] = Field(default_factory=dict, description="The model's own keys, all of them.")
    data: str = Field(description="Source of the data.")
    mode: Literal["train", "infer"] = "train"
    input_shape: tuple[int, ...] = Field(default=(), description="Shape of one input.")


def model_class(name: str) -> type[Model]:
    """A model by name, by ``path/to/file.py:Name``, or by ``package.module:Name``.

    Raises:
        ConfigError: no such model, or what is there is no model.
        NotFoundError: no such file or package.
    """
    if name in BUILT_IN:
        module_name, _, attribute = BUILT_IN[name].partition(":")
        with links_explained():
            module = importlib.import_module(module_name)
        return _checked(getattr(module, attribute), name, module)
    path, colon, attribute = name.rpartition(":")
    if colon and not path.endswith(".py") and _PACKAGE.fullmatch(path) and attribute.isidentifier():
        return _checked(_attribute(package_module(path, "model"), attribute, name), name, package_module(path, "model"))
    if not colon or not path.endswith(".py"):
        if (meant := _meant(name)) is not None:
            raise ConfigError(f"model={name} does not name a class in a file", fix=f"write {meant}")
        near = difflib.get_close_matches(name.lower(), BUILT_IN, n=1)
        raise ConfigError(
            f"model={name} is not known" + (f"; did you mean {near[0]}?" if near else ""),
            fix=f"use one of: {', '.join(BUILT_IN)}, or your own as path/to/file.py:Name or package.module:Name",
        )
    module = file_module(str(user_path(path).resolve()), "model")
    if not hasattr(module, attribute):
        there = models_in(user_path(path))
        near = difflib.get_close_matches(attribute.lower(), [each.lower() for each in there], n=1)
        meant = next((each for each in there if [each.lower()] == near), None)
        raise ConfigError(
            f"{path} defines no {attribute}" + (f"; did you mean {meant}?" if meant else ""),
            fix=f"write {_choices(path, [meant] if meant else there)}"
            if there
            else "write the name of the model's class after the colon",
        )
    return _checked(getattr(module, attribute), name, module)


def _meant(name: str) -> str | None:
    """What to write instead of the name of a file or class alone; None: no such file or class is near."""
    if name.endswith(".py"):
        there = models_in(user_path(name))
        return _choices(name, there) if there else None
    for file in files_with(name):
        there = models_in(file)
        return _choices(str(file), [name] if name in there else there)
    return None


def _choices(path: str, names: Sequence[str]) -> str:
    return " or ".join(f"model={path}:{each}" for each in names)


def _attribute(module: ModuleType, attribute: str, name: str) -> Any:
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        raise ConfigError(
            f"model={name}: {module.__name__} defines no {attribute}" + (f"; did you mean {near[0]}?" if near else ""),
            fix="write the name of a class or function after the colon",
        )
    return getattr(module, attribute)


def _checked(found: Any, name: str, module: ModuleType) -> type[Model]:
    from hal.nn import Model

    if isinstance(found, type) and issubclass(found, Model):
        return found
    # Whoever writes modules for PyTorch has loaded it.
    if "torch" in sys.modules:
        from hal.torch.user_code import is_module_source

        if is_module_source(found):
            return _model_of_module(found, name, module)
    raise ConfigError(
        f"model={name} is neither a torch.nn.Module nor a hal.nn.Model",
        fix="name a class that derives from torch.nn.Module, a function that returns a module, or a class that derives "
        "from hal.nn.Model",
    )


@functools.cache
def _model_of_module(found: Any, name: str, module: ModuleType) -> type[Model]:
    from hal.torch.model import model_of
    from hal.torch.user_code import UserCode

    return model_of(UserCode.found(name, found, module))


def configure(cls: type[Model], keys: dict[str, Any]) -> ModelConfig:
    """The config of a model from its own keys.

    Raises:
        ConfigError: a key or value is wrong.
    """
    from hal.config import explain, with_types

    try:
        return cls.Config.model_validate(with_types(cls.Config, keys))
    except ValidationError as error:
        raise ConfigError(explain(error, cls.Config, "model.")) from None


def short_name(model: str) -> str:
    """A built-in model's name, or that of the file of ``path/to/file.py:Name``; to name files after."""
    where, _, attribute = model.rpartition(":")
    return attribute if where and not where.endswith(".py") else Path(where or model).stem
