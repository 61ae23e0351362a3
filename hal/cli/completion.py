"""Completes keys and their values in a shell, without loading a framework or running anybody's code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import typer

from hal.cli.typed import HintingCommand

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["complete_keys"]


def complete_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """What may stand where the cursor is: ``key=``, or values of the key that is there.

    Bash splits words at ``=``, other shells do not; what is returned replaces the word that the shell sees.

    Args:
        ctx: of the command, with the words before the cursor.
        incomplete: the word at the cursor.
    """
    config = ctx.command.config if isinstance(ctx.command, HintingCommand) else None
    if config is None:
        return []
    before = [str(word) for word in ctx.params.get("keys") or ()]
    key, equals, start = incomplete.partition("=")
    prefix = f"{key}=" if equals else ""
    if not equals and before and before[-1] == "=":
        key, equals, before = (before[-2] if len(before) > 1 else ""), "=", before[:-2]
        start = incomplete
    elif not incomplete and before and "=" not in before[-1] and before[-2:-1] != ["="]:  # a key, and = at the cursor
        key, equals, before = before[-1], "=", before[:-1]
    if not equals:
        return [f"{name}=" for name in _keys(config, _model(before)) if name.startswith(incomplete)]
    return [f"{prefix}{value}" for value in _values(config, key, _model(before)) if value.startswith(start)]


def _model(words: Sequence[str]) -> str:
    """The model that the words name, also where the shell has split them at ``=``."""
    for at, word in enumerate(words):
        if word.startswith("model="):
            return word.removeprefix("model=")
        if list(words[at : at + 2]) == ["model", "="] and at + 2 < len(words):
            return words[at + 2]
    return ""


def _keys(config: type[BaseModel], model: str) -> Iterable[str]:
    from hal.config import known_keys

    own = _model_config(model)
    return [*known_keys(config), *(f"model.{name}" for name in (own.model_fields if own else ()))]


def _model_config(model: str) -> type[BaseModel] | None:
    """The config of a built-in model; a file of the user's own is not run to complete a word."""
    from hal.workload import BUILT_IN, model_class

    return model_class(model).Config if model in BUILT_IN else None


def _values(config: type[BaseModel], key: str, model: str) -> Iterable[str]:
    from hal import registry
    from hal.config import annotation_of
    from hal.data import SOURCES
    from hal.errors import HalError
    from hal.workload import BUILT_IN

    if key == "model":
        return tuple(BUILT_IN)
    if key == "data":
        usages = (source.usage.partition("[")[0] for source in SOURCES.values())
        return [f"{usage.partition(':')[0]}:" if ":" in usage else usage for usage in usages]
    if key == "plan":
        return ("default", "tuned")
    if key in ("backend", "backends", "device"):
        try:
            return ("auto", *registry.names())
        except HalError:
            return ()
    section, _, name = key.partition(".")
    own = _model_config(model) if section == "model" else None
    if own is not None:
        return _choices(own.model_fields[name].annotation) if name in own.model_fields else ()
    return _choices(annotation_of(config, key))


def _choices(annotation: Any) -> Iterable[str]:
    """The values of an annotation that lists them, such as a Literal or a bool."""
    if annotation is bool:
        return ("true", "false")
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation) if value is not None]
    return [value for inner in get_args(annotation) if inner is not annotation for value in _choices(inner)]
