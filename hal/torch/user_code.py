"""What a user's file gives besides the module: functions found by name, and the module's arguments as keys."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import torch
from pydantic import ConfigDict, Field, create_model
from torch import nn

from hal.errors import ConfigError, HalError
from hal.nn import ModelConfig
from hal.torch.places import own_error
from hal.torch.randomness import drawing

__all__ = ["NAMES", "UserCode", "config_of", "is_module_source", "user_errors"]

NAMES = ("example_inputs", "loss", "losses", "metrics", "data", "blocks")
"""What hal looks for in a user's file."""

_PLAIN = (bool, int, float, str)


@dataclass(frozen=True, eq=False)
class UserCode:
    """A module's class or function, and what else its file defines.

    Attributes:
        name: of the model as the user wrote it.
        factory: a class of ``nn.Module``, or a function that returns a module.
        example_inputs: ``example_inputs(batch)``: inputs for some samples: a tensor, or a tuple or dict of tensors.
        loss: ``loss(outputs, batch)``, a scalar.
        losses: for each submodule that is trained by a loss of its own, ``f(module, batch)``, a scalar.
        metrics: ``metrics(outputs, batch)``, a dict of numbers or of tensors (batch,).
        data: ``data()``: a data set or data loader, or two of them, to train on and to validate with.
        blocks: names of submodules whose parameters ``parallel=fsdp=N`` gathers one at a time.
    """

    name: str
    factory: Callable[..., Any]
    example_inputs: Callable[[int], Any] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    losses: Mapping[str, Callable[[Any, Any], Any]] | None = None
    metrics: Callable[[Any, Any], Any] | None = None
    data: Callable[[], Any] | None = None
    blocks: Sequence[str] | None = None

    @classmethod
    def found(cls, name: str, factory: Callable[..., Any], module: ModuleType) -> UserCode:
        """What a file defines.

        Args:
            name: of the model as the user wrote it.
            factory: of the module.
            module: the file, imported.

        Raises:
            ConfigError: one of the names is there and is not what it should be.
        """
        own = {each: getattr(module, each) for each in NAMES if hasattr(module, each)}
        # In a package of somebody else's, `data` may be a submodule, and `loss` anything.
        own = {each: value for each, value in own.items() if not isinstance(value, ModuleType)}
        if "losses" in own and not (isinstance(own["losses"], Mapping) and all(map(callable, own["losses"].values()))):
            raise ConfigError(
                f"losses in the file of model={name} is not a dict of functions",
                fix='write losses = {"generator": f, "discriminator": g}, with f(module, batch) a scalar tensor',
            )
        if "blocks" in own and not _is_names(own["blocks"]):
            raise ConfigError(
                f"blocks in the file of model={name} is not a list of names of submodules",
                fix='write for example blocks = ["encoder.layers"]',
            )
        for each, value in own.items():
            if each not in ("losses", "blocks") and not callable(value):
                raise ConfigError(
                    f"{each} in the file of model={name} is not a function", fix=f"write def {each}(...):"
                )
        return cls(name, factory, **own)

    @property
    def computing(self) -> tuple[Callable[[Any, Any], Any], ...]:
        """The functions that compute with tensors beside the module."""
        return tuple(each for each in (self.loss, self.metrics, *(self.losses or {}).values()) if each is not None)

    def build(self, keys: Mapping[str, Any], seed: int) -> nn.Module:
        """The module with random values that follow from a seed.

        Args:
            keys: arguments of the factory.
            seed: of the random generators.

        Raises:
            RequestError: the user's code failed, or gave no module.
        """
        with user_errors(f"{self.name} could not be made: its code"), drawing(seed):
            found = self.factory(**keys)
        if not isinstance(found, nn.Module):
            raise ConfigError(
                f"model={self.name} gave a {type(found).__name__}, not a torch.nn.Module",
                fix="name a class that derives from torch.nn.Module, or a function that returns one",
            )
        return found

    def examples(self, count: int, seed: int = 0) -> Any:
        """What ``example_inputs(count)`` gives."""
        assert self.example_inputs is not None
        with user_errors("example_inputs"), drawing(seed):
            return self.example_inputs(count)


def _is_names(found: Any) -> bool:
    return isinstance(found, (list, tuple)) and all(isinstance(name, str) for name in found)


class user_errors:
    """What a user's code raises within the block becomes an error that shows their own traceback and nothing of hal's.

    Errors of hal, of memory, and of devices pass as they are.

    Args:
        what: raised it, as the beginning of a sentence.
    """

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, (HalError, MemoryError)):
            return
        if isinstance(error, (torch.OutOfMemoryError, torch.AcceleratorError)):
            return
        raise own_error(error, self.what) from error


def is_module_source(found: Any) -> bool:
    """Whether something is a class of modules, or a function that may return a module."""
    return issubclass(found, nn.Module) if isinstance(found, type) else callable(found) and isinstance(found, Hashable)


@functools.cache
def config_of(factory: Callable[..., Any], name: str) -> Any:
    """The arguments of a class or function as keys, with their defaults; those without a default are required."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the arguments of model={name} cannot be read: {error}") from error
    hints = _hints(factory)
    fields: dict[str, Any] = {}
    extra = False
    for argument in signature.parameters.values():
        if argument.kind is argument.VAR_KEYWORD:
            extra = True
        elif argument.kind in (argument.POSITIONAL_ONLY, argument.VAR_POSITIONAL):
            if argument.kind is argument.POSITIONAL_ONLY and argument.default is argument.empty:
                raise ConfigError(
                    f"the argument {argument.name} of model={name} cannot be given by its name",
                    fix="write a function of your own that returns the module",
                )
        else:
            kind = _key_type(hints.get(argument.name, argument.annotation))
            default = ... if argument.default is argument.empty else argument.default
            # A default may be a class, None, or anything: only what the user gives is checked.
            fields[argument.name] = (kind, Field(default=default, description=f"Argument of {factory.__name__}."))
    keys: Any = create_model(
        f"{factory.__name__}Keys",
        __base__=_OpenKeys if extra else _Keys,
        __module__=__name__,
        __doc__=f"Arguments of {factory.__name__}.",
        **fields,
    )
    return keys


class _Keys(ModelConfig):
    """Arguments of a user's own module; pydantic's own names are allowed among them."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())


class _OpenKeys(_Keys):
    """Those of a function that takes any others too."""

    model_config = ConfigDict(extra="allow")


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(getattr(factory, "__init__") if isinstance(factory, type) else factory)  # noqa: B009
    except (NameError, TypeError, AttributeError):
        return {}  # annotations that only a type checker can resolve


def _key_type(hint: Any) -> Any:
    """The type that a key is checked against; anything where the annotation says nothing that a text can be."""
    if hint in _PLAIN:
        return hint
    if get_origin(hint) in (tuple, list) and all(each in (*_PLAIN, ...) for each in get_args(hint)):
        return hint
    given = [each for each in get_args(hint) if each is not type(None)]
    if len(given) == 1 and type(None) in get_args(hint) and given[0] in _PLAIN:
        return hint
    return Any
