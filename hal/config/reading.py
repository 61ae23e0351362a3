"""Turns a YAML file and ``key=value`` pairs into nested keys, and nested keys into a config; says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hal.config.synonyms import nearest_key, nearest_value
from hal.config.unions import taken_by, union_at
from hal.config.yaml_text import Plain, Verbatim, number_or_truth, parse, parse_file, resolve
from hal.errors import ConfigError
from hal.util.passwords import without_password
from hal.util.paths import user_path

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "annotation_of",
    "build",
    "explain",
    "is_text",
    "known_keys",
    "read",
    "section_of",
    "split_words",
    "with_types",
]

C = TypeVar("C", bound=BaseModel)
_QUOTED = ("[", "{", "'", '"')
"""How a value of a model's own key begins where it is YAML, and no text or number."""

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
    of_file = {} if file is None else parse_file(user_path(file), partial(is_text, cls))
    for key, value in of_file.items():
        _put(tree, _place(cls, key, isinstance(value, Mapping)), value)
    typed = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            said = without_password(pair)
            near = nearest_key(pair, known_keys(cls))
            raise ConfigError(
                f"{said!r} is not of the form key=value",
                fix=f"write {f'{near}=VALUE' if near else 'for example model=cnn'}, without spaces around =",
            )
        typed.append(_place(cls, key, False))
        _put(tree, typed[-1], _value(cls, typed[-1], text, without_password(pair)))
    found = resolve(tree)
    if of_file:
        _check_file(cls, found, str(file), list(_places(cls, of_file)), typed)
    return found


def split_words(cls: type[BaseModel], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command line that are something else, and those that are ``key=value``.

    A word with ``=`` is a key, unless it is no key of the config and a file of that name exists.

    Args:
        cls: the config that the keys are for.
        words: as they were typed.
    """
    known = known_keys(cls)
    others: list[str] = []
    pairs: list[str] = []
    for word in words:
        key, equals, _ = word.partition("=")
        is_pair = bool(equals) and (key in known or not user_path(word).exists())
        (pairs if is_pair else others).append(word)
    return others, pairs


def _place(cls: type[BaseModel], key: str, is_section: bool) -> list[str]:
    """The parts of a key as it is written."""
    return [*key.split("."), "name"] if _named(cls, key) and not is_section else key.split(".")


def _places(cls: type[BaseModel], keys: Mapping[str, Any]) -> Iterator[list[str]]:
    """The parts of all keys of a file that hold values."""
    for key, value in keys.items():
        place = _place(cls, key, isinstance(value, Mapping))
        yield from ([*place, *inner] for inner in _inner_places(value)) if value else (place,)


def _inner_places(value: Any) -> Iterator[list[str]]:
    if not isinstance(value, Mapping):
        yield []
        return
    for key, inner in value.items():
        yield from ([key, *rest] for rest in _inner_places(inner))


def _check_file(
    cls: type[BaseModel], keys: Mapping[str, Any], file: str, of_file: list[list[str]], typed: list[list[str]]
) -> None:
    """Refuse what is wrong in a file and was not replaced on the command line, with the name of the file."""

    def is_from_file(item: ErrorDetails) -> bool:
        loc = [part for part in item["loc"] if isinstance(part, str)]
        within = [place[: len(loc)] == loc or loc[: len(place)] == place for place in of_file]
        return bool(loc) and any(within) and not any(loc[: len(place)] == place for place in typed)

    try:
        cls.model_validate(keys)
    except ValidationError as error:
        if wrong := [item for item in error.errors(include_url=False) if is_from_file(item)]:
            raise ConfigError("\n".join(f"{file}: {line}" for line in _lines(wrong, cls))) from None


def _value(cls: type[BaseModel], path: list[str], text: str, about: str) -> Any:
    kinds = kinds_of(_annotation(cls, path))
    if kinds - {NoneType} == {str}:
        return None if not text and NoneType in kinds else Verbatim(text)
    if _is_open(cls, path) and not text.lstrip().startswith(_QUOTED) and text != "~":
        return text if not Plain(text, int).is_lossless else parse(text, about, partial(is_text, cls), tuple(path))
    return parse(text, about, partial(is_text, cls), tuple(path))


def is_text(cls: type[BaseModel], path: Sequence[str], plain: Plain) -> bool:
    """Whether a plain value is taken as it is written, since its key is text, or cannot be what YAML takes it for.

    Args:
        cls: the config.
        path: the parts of the key; ``*`` stands for the items of a list.
        plain: the value.
    """
    in_list, path = "*" in path, [part for part in path if part != "*"]
    if not path:
        return False
    if len(path) == 1 and _named(cls, path[0]):
        path = [*path, "name"]
    if _is_open(cls, path):  # with_types goes on when the types of these keys are known
        return plain.kind is not NoneType and not plain.is_lossless
    annotation = _annotation(cls, path)
    kinds = _items(annotation) if in_list else kinds_of(annotation) | _items(annotation)
    kinds = {str if get_origin(kind) is Literal else kind for kind in kinds if get_origin(kind) not in (tuple, list)}
    if not kinds or kinds - {str, int, float, bool, NoneType}:
        return False
    if plain.kind in (bool, NoneType):
        return plain.kind not in kinds
    return str in kinds and not (kinds & {int, float} and plain.is_lossless)


def _is_open(cls: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a key belongs to a section that takes keys which it does not know, as the model's own."""
    section = section_of(_annotation(cls, path[:1])) if len(path) > 1 else None
    return section is not None and section.model_config.get("extra") == "allow" and path[1] not in section.model_fields


def kinds_of(annotation: Any) -> set[Any]:
    """The types in an annotation, without their constraints; of None, no types."""
    if annotation is None:
        return set()
    if get_origin(annotation) is Annotated:
        return kinds_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for inner in get_args(annotation) for kind in kinds_of(inner)}
    return {annotation}


def _items(annotation: Any) -> set[Any]:
    """The types that the items of a tuple or list may have."""
    lists = [kind for kind in kinds_of(annotation) if get_origin(kind) in (tuple, list)]
    return {kind for each in lists for inner in get_args(each) if inner is not Ellipsis for kind in kinds_of(inner)}


def with_types(cls: type[BaseModel], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a model as the types of its config want them, whose text :func:`read` kept where YAML would change it.

    So ``model.tag=1e3`` is the text 1e3 where the model declares text, and the number 1000 where it declares a number.
    """
    return {
        name: _typed(kinds_of(field.annotation), value) if (field := cls.model_fields.get(name)) else value
        for name, value in keys.items()
    }


def _typed(kinds: set[Any], value: Any) -> Any:
    """A value as one of some types wants it."""
    if isinstance(value, Mapping):
        section = next(filter(None, map(section_of, kinds)), None)
        values = {each for kind in kinds if get_origin(kind) is dict for each in kinds_of(get_args(kind)[1])}
        return with_types(section, value) if section else {k: _typed(values or {Any}, v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = {kind for each in kinds for kind in _items(each)}
        return [_typed(items or {Any}, each) for each in value]
    others = {kind for kind in kinds if kind is not NoneType}
    if isinstance(value, str) and others and all(map(_is_number, others)):
        found = number_or_truth(value)
        as_written = isinstance(found, bool) and not others & {bool, Any}
        return None if not value and NoneType in kinds else value if as_written else found
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return json.dumps(value) if is_number and others and all(map(_is_text_alone, others)) else value


def _is_number(kind: Any) -> bool:
    """Whether a type is that of numbers or truth values, or anything."""
    if get_origin(kind) is Literal:
        return not any(isinstance(each, str) for each in get_args(kind))
    return kind in (int, float, bool, Any)


def _is_text_alone(kind: Any) -> bool:
    return kind is str or (get_origin(kind) is Literal and all(isinstance(each, str) for each in get_args(kind)))


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


def build(cls: type[C], keys: Mapping[str, Any], file: str | None = None) -> C:
    """A config from nested keys.

    Args:
        cls: the config.
        keys: its keys, those of a section inside it.
        file: the file that all of them come from, to be named in errors.

    Raises:
        ConfigError: a key or value is wrong; each is named, with the nearest known key.
    """
    try:
        return cls.model_validate(keys)
    except ValidationError as error:
        lines = _lines(error.errors(include_url=False), cls)
        raise ConfigError("\n".join(line if file is None else f"{file}: {line}" for line in lines)) from None


def explain(error: ValidationError, cls: type[BaseModel], prefix: str = "") -> str:
    """What is wrong with a configuration, one line a mistake."""
    return "\n".join(_lines(error.errors(include_url=False), cls, prefix))


def _lines(items: Sequence[ErrorDetails], cls: type[BaseModel], prefix: str = "") -> list[str]:
    known = known_keys(cls)
    lines = []
    wrong_inside = {item["loc"][:-1] for item in items if item["loc"] and isinstance(item["loc"][-1], int)}
    told: set[tuple[int | str, ...]] = set()
    for item in items:
        if (union := union_at(cls, item["loc"])) is not None:  # an error for each type that it may have
            if union[0] not in told:
                lines.append(prefix + _union_line(items, *union))
            told.add(union[0])
            continue
        place = ".".join(str(part) for part in item["loc"] if part != 0)  # of a list of one, mostly
        if item["loc"] in wrong_inside:
            continue  # a list is too short as well, without what is wrong in it
        if item["type"] == "extra_forbidden":
            near = nearest_key(place, known)
            there = f"; the keys are: {', '.join(prefix + key for key in known)}" if known else "; there are none"
            hint = f"; did you mean {prefix}{near}?" if near else there
            # A URL typed as a key is cut at its dots, so what is left of a password cannot be told from the rest.
            shown = without_password(place) if "://" not in place else f"{place.partition('://')[0]}://..."
            lines.append(f"unknown key {prefix}{shown}{hint}")
        elif item["type"] == "missing":
            absent = prefix + place.removesuffix(".name")
            lines.append(f"{absent} is missing; add {absent}=VALUE")
        else:
            said = item["msg"].removeprefix("Value error, ").partition(", unable to ")[0]
            given = _shown(item["input"])
            key = place.removesuffix(".name")
            expected = item.get("ctx", {}).get("expected")  # of a choice
            near = nearest_value(key, given, expected) if item["type"] == "literal_error" and expected else None
            hint = f"; did you mean {near}?" if near else ""
            lines.append(f"{prefix}{key}={given}: {said[:1].lower()}{said[1:]}{hint}")
    return lines


def _union_line(items: Sequence[ErrorDetails], key: tuple[int | str, ...], kinds: Sequence[Any]) -> str:
    """What is wrong with the value of a key of several types."""
    mine = [item for item in items if item["loc"][: len(key)] == key]
    value = min(mine, key=lambda item: len(item["loc"]))["input"]  # the others are about items of a list
    given = _shown(",".join(map(str, value)) if isinstance(value, list | tuple) else value)
    place = ".".join(map(str, key)).removesuffix(".name")
    expected = "".join(item.get("ctx", {}).get("expected", "") for item in mine if item["type"] == "literal_error")
    near = nearest_value(place, given, expected)
    hint = f"; did you mean {near}?" if near else ""
    return f"{place}={given}: use {taken_by(kinds, [item['type'] for item in mine])}{hint}"


def _shown(value: Any) -> str:
    """A wrong value as an error repeats it."""
    text = without_password(str(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


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
