"""Turns a YAML file and ``key=value`` pairs into nested keys, and nested keys into a config; says what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hal.config.synonyms import nearest_key
from hal.config.yaml_text import Verbatim, parse, parse_file, resolve
from hal.contract.plan import Plan
from hal.errors import ConfigError
from hal.util.passwords import without_password
from hal.util.paths import user_path

__all__ = ["annotation_of", "build", "explain", "known_keys", "plan_keys", "read", "section_of"]

C = TypeVar("C", bound=BaseModel)
_LONGEST_SHOWN = 200
"""Characters of a wrong value that an error repeats."""


def read(cls: type[BaseModel], pairs: Sequence[str], file: Path | None = None) -> dict[str, Any]:
    """Nested keys from ``key=value`` pairs over a YAML file.

    On the command line, a value of a key whose type is text, such as a path or a name, is taken as it stands; other
    values are parsed as YAML.

    Args:
        cls: the config that the keys are for.
        pairs: ``key=value``, as they were typed.
        file: of keys and values.

    Raises:
        ConfigError: a pair without ``=``, or something that is no YAML.
        NotFoundError: the file is not there or cannot be read.
    """
    tree: dict[str, Any] = {}
    for key, value in ({} if file is None else parse_file(user_path(file), partial(_is_text, cls))).items():
        place = f"{key}.name" if isinstance(value, str) and _named(cls, key) else key
        _put(tree, place.split("."), value)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            said = without_password(pair)
            raise ConfigError(
                f"{said!r} is not of the form key=value", fix="write for example model=cnn, without spaces around ="
            )
        path = [*key.split("."), "name"] if _named(cls, key) else key.split(".")
        _put(tree, path, _value(cls, path, text, without_password(pair)))
    return resolve(tree)


def _value(cls: type[BaseModel], path: list[str], text: str, about: str) -> Any:
    if _is_text(cls, path, False):
        return None if not text and not _is_text(cls, path, True) else Verbatim(text)
    return parse(text, about, partial(_is_text, cls), tuple(path))


def _is_text(cls: type[BaseModel], path: Sequence[str], is_null: bool) -> bool:
    """Whether the value of a key is taken as it is written; of a list, whether its items (``*``) are."""
    if not path:
        return False
    kinds = _kinds(_annotation(cls, [part for part in path if part != "*"]))
    if path[-1] == "*":
        kinds = {inner for kind in kinds if get_origin(kind) is tuple for inner in _kinds(get_args(kind)[0])}
    elif len(path) == 1 and _named(cls, path[0]):
        return _is_text(cls, [*path, "name"], is_null)
    return kinds - {type(None)} == {str} and not (is_null and type(None) in kinds)


def _kinds(annotation: Any) -> set[Any]:
    """The types in an annotation, without their constraints."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for inner in get_args(annotation) for kind in _kinds(inner)}
    return {annotation}


def _annotation(cls: type[BaseModel], path: Sequence[str]) -> Any:
    """The type of a key; None where the class does not know the key."""
    field = cls.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return None if field is None else field.annotation
    section = section_of(field.annotation)
    return None if section is None else _annotation(section, path[1:])


def _named(cls: type[BaseModel], key: str) -> bool:
    """Whether a key is a section that its name stands for, as in ``model=cnn``."""
    section = section_of(_annotation(cls, [key]))
    return section is not None and "name" in section.model_fields


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value into nested keys; a mapping is merged with the one that is there."""
    for part in path[:-1]:
        if not isinstance(tree.get(part), dict):
            tree[part] = {}
        tree = tree[part]
    name = path[-1]
    if isinstance(value, dict) and isinstance(tree.get(name), dict):
        for key, inner in value.items():
            _put(tree[name], [key], inner)
    else:
        tree[name] = value


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
    known = known_keys(cls)
    lines = []
    items = error.errors(include_url=False)
    wrong_inside = {item["loc"][:-1] for item in items if item["loc"] and isinstance(item["loc"][-1], int)}
    for item in items:
        place = ".".join(str(part) for part in item["loc"] if part != 0)  # of a list of one, mostly
        if item["loc"] in wrong_inside:
            continue  # a list is too short as well, without what is wrong in it
        if item["type"] == "extra_forbidden":
            near = nearest_key(place, known)
            hint = (
                f"; did you mean {prefix}{near}?" if near else f"; the keys are: {', '.join(prefix + k for k in known)}"
            )
            # A URL typed as a key is cut at its dots, so what is left of a password cannot be told from the rest.
            shown = without_password(place) if "://" not in place else f"{place.partition('://')[0]}://..."
            lines.append(f"unknown key {prefix}{shown}{hint}")
        elif item["type"] == "missing":
            absent = prefix + place.removesuffix(".name")
            lines.append(f"{absent} is missing; add {absent}=VALUE")
        else:
            said = item["msg"].removeprefix("Value error, ").partition(", unable to ")[0]
            given = without_password(str(item["input"]))
            given = given if len(given) <= _LONGEST_SHOWN else f"{given[:_LONGEST_SHOWN]}..."
            lines.append(f"{prefix}{place.removesuffix('.name')}={given}: {said[:1].lower()}{said[1:]}")
    return "\n".join(lines)


def plan_keys(plan: str) -> dict[str, Any]:
    """The keys of a plan in a file."""
    file = user_path(plan)
    near = difflib.get_close_matches(plan, ("default", "tuned"), n=1)
    if near and not file.exists():
        raise ConfigError(f"plan={plan} is not a file; did you mean {near[0]}?", fix=f"write plan={near[0]}")
    keys = resolve(parse_file(file, partial(_is_text, Plan)))
    if "model" in keys or "backend" in keys:
        raise ConfigError(
            f"plan={plan} contains other keys than those of a plan", fix=f"read all of its keys with --config {plan}"
        )
    return keys


def annotation_of(cls: type[BaseModel], key: str) -> Any:
    """The type of a key as it is written, where ``model`` is the name of the model; None: the class has no such key."""
    return _annotation(cls, [*key.split("."), "name"] if _named(cls, key) else key.split("."))


def known_keys(cls: type[BaseModel]) -> list[str]:
    """The keys of a config as they are written, those of its sections with a dot; ``model.<key>`` is not listed."""
    return list(_dotted(cls, ""))


def _dotted(cls: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, field in cls.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            yield prefix + name
        elif "name" in section.model_fields:
            yield prefix + name
            yield from (k for k in _dotted(section, f"{prefix}{name}.") if k != f"{prefix}{name}.name")
        else:
            yield from _dotted(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model class in an annotation such as ``PlanKeys | None``; None: a plain value."""
    candidates = getattr(annotation, "__args__", (annotation,))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
