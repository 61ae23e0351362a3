"""Turns a YAML file and ``key=value`` pairs into nested keys, and nested keys into a config; says what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hal.errors import ConfigError, NotFoundError

__all__ = ["build", "explain", "plan_keys", "read", "section_of", "without_password"]

C = TypeVar("C", bound=BaseModel)
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
                raise ConfigError(
                    f"{file} does not contain keys and values",
                    fix="write one pair on each line, for example model: cnn",
                ) from error
            raise NotFoundError(f"cannot read {file}: {error.strerror}", fix="check the path") from error
        except (YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} is not valid YAML: {error}") from error
        if not OmegaConf.is_dict(loaded):
            raise ConfigError(
                f"{file} does not contain keys and values", fix="write one pair on each line, for example model: cnn"
            )
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
            raise ConfigError(
                f"{said!r} is not of the form key=value", fix="write for example model=cnn, without spaces around ="
            )
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
            hint = (
                f"; did you mean {prefix}{near[0]}?"
                if near
                else f"; the keys are: {', '.join(prefix + k for k in known)}"
            )
            lines.append(f"unknown key {prefix}{place}{hint}")
        elif item["type"] == "missing":
            lines.append(f"{prefix}{place.removesuffix('.name')} is missing")
        else:
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"{prefix}{place}={item['input']}: {said[:1].lower()}{said[1:]}")
    return without_password("\n".join(lines))


def plan_keys(plan: str) -> dict[str, Any]:
    """The keys of a plan in a file."""
    file = Path(plan).expanduser()
    near = difflib.get_close_matches(plan, ("default", "tuned"), n=1)
    if near and not file.exists():
        raise ConfigError(f"plan={plan} is not a file; did you mean {near[0]}?", fix=f"write plan={near[0]}")
    keys = read([], file)
    if "model" in keys or "backend" in keys:
        raise ConfigError(
            f"plan={plan} contains other keys than those of a plan", fix=f"read all of its keys with --config {plan}"
        )
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
        elif "name" in section.model_fields:
            yield prefix + name
            yield from (k for k in _dotted(section, f"{prefix}{name}.") if k != f"{prefix}{name}.name")
        else:
            yield from _dotted(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model class in an annotation such as ``PlanKeys | None``; None: a plain value."""
    candidates = getattr(annotation, "__args__", (annotation,))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
