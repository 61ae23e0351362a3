"""Reads YAML that anybody may have written: small, without tags or repeated keys, and with references to other keys.

What is refused here would otherwise end in a traceback, fill the memory, or copy a secret into a record.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from hal.errors import ConfigError, NotFoundError
from hal.util.messages import first_line
from hal.util.reading import read_regular

__all__ = ["IsText", "Plain", "Verbatim", "number_or_truth", "parse", "parse_file", "resolve"]

_LARGEST_BYTES = 1 << 20
_DEEPEST = 32
_MOST_VALUES = 10_000
"""Values in a text, where a value that an alias repeats counts each time."""

_LONGEST = 65_536
"""Characters of a value after its references are replaced."""

_INTEGER_BITS = 63

_PREFIX = "tag:yaml.org,2002:"
_NULL = f"{_PREFIX}null"
_STR = f"{_PREFIX}str"
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$")
"""Without the octal 010 and the 1:30 that is 90 seconds in YAML 1.1: few who write these mean that."""

_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Plain:
    """A value without quotes that YAML takes for something else than text.

    Attributes:
        written: its text.
        kind: the type of what YAML takes it for: int, float, bool or NoneType.
    """

    written: str
    kind: type

    @property
    def is_lossless(self) -> bool:
        """Whether it is a number whose text can be had back from its value, as 7 and 0.5, unlike 007 and 1e3."""
        try:
            return self.kind in (int, float) and json.dumps(json.loads(self.written)) == self.written
        except ValueError:
            return False


IsText = Callable[[tuple[str, ...], Plain], bool]
"""Whether a value is taken as it is written, given the parts of its key and what YAML takes it for."""


class Verbatim(str):
    """A text from the command line that stands as it was typed: ``${`` begins no reference in it."""

    __slots__ = ()


_KINDS = {_NULL: NoneType, f"{_PREFIX}bool": bool, f"{_PREFIX}int": int, f"{_PREFIX}float": float}

_OTHERWISE = (f"{_PREFIX}timestamp", f"{_PREFIX}float", f"{_PREFIX}int")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 as PyYAML reads it, except that 1e-3 is a number, a date is text, and a key stands once."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, form) for tag, form in forms if tag not in _OTHERWISE]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping, after its keys were checked."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == f"{_PREFIX}merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_PREFIX}str":
                raise yaml.MarkedYAMLError(problem="keys should be strings", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        self.flatten_mapping(node)
        return {self.construct_object(key): self.construct_object(value, deep=True) for key, value in node.value}

    def construct_yaml_map(self, node: Any) -> Any:
        """A mapping at once, not bit by bit: recursion is refused before."""
        return self.construct_mapping(node)


_Loader.add_implicit_resolver(f"{_PREFIX}float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver(f"{_PREFIX}int", _INT, list("-+0123456789"))
_Loader.add_constructor(f"{_PREFIX}map", _Loader.construct_yaml_map)


def parse(text: str, about: str, is_text: IsText, place: tuple[str, ...] = ()) -> Any:
    """The value that a YAML text stands for.

    Args:
        text: YAML.
        about: names the text in errors, such as the name of its file.
        is_text: tells the keys whose values are taken as they are written, so that 007 is not 7.
        place: the parts of the key that the value belongs to; empty: the text is a whole file.

    Raises:
        ConfigError: it is no YAML, or YAML that is refused.
    """
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        _measure(node, {}, set())
        loader = _Loader("")
        try:
            return _checked(loader.construct_document(_as_written(node, place, is_text)))
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(f"{about} is not YAML that hal reads: {_problem(error)}") from error
    except (ValueError, OverflowError) as error:  # of a number with thousands of digits, or of broken characters
        raise ConfigError(f"{about} is not YAML that hal reads: {first_line(error)}") from error


def number_or_truth(text: str) -> Any:
    """What YAML takes a text for where that is a number or a truth value; otherwise the text."""
    try:
        value = parse(text, "the value", lambda place, plain: False)
    except ConfigError:
        return text
    return value if isinstance(value, int | float) else text


def parse_file(file: Path, is_text: IsText) -> dict[str, Any]:
    """The keys and values in a YAML file.

    Args:
        file: its path.
        is_text: see :func:`parse`.

    Raises:
        ConfigError: it is no YAML, or YAML that is refused.
        NotFoundError: the file is not there or cannot be read.
    """
    try:
        content = read_regular(file, _LARGEST_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ConfigError(
                f"{file} is larger than 1 MiB, which no file of keys is", fix="check the path; data are named by data="
            ) from error
        raise NotFoundError(f"cannot read {file}: {error.strerror}", fix="check the path") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file} is not YAML that hal reads: it is not text in UTF-8", fix="save the file in the encoding UTF-8"
        ) from error
    found = parse(text, str(file), is_text)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{file} should contain one key with its value on each line, as in epochs: 3")
    return found


def resolve(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Nested keys with each reference ``${key}`` or ``${section.key}`` replaced by the value of that key.

    Raises:
        ConfigError: a reference that leads nowhere or in a circle, or that asks for anything but another key.
    """
    return {key: _resolved(value, keys, (key,)) for key, value in keys.items()}


def _resolved(value: Any, keys: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {name: _resolved(inner, keys, (*path, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, keys, path) for inner in value]
    if isinstance(value, Verbatim):
        return str(value)
    return _replaced(value, keys, (".".join(path),)) if isinstance(value, str) and "${" in value else value


def _replaced(text: str, keys: Mapping[str, Any], chain: tuple[str, ...]) -> Any:
    """A text with its references replaced; a text that is one reference becomes the value itself."""
    if isinstance(text, Verbatim):
        return str(text)
    if "${" in re.sub(r"\$\{[^{}]*\}", "", text):
        raise ConfigError(f"{chain[0]}={text}: the reference that ${{ begins has no closing }}", fix="write ${key}")
    parts: list[str] = []
    at = 0
    for found in re.finditer(r"\$\{([^{}]*)\}", text):
        value = _referred(found[1], keys, chain)
        if found[0] == text:
            return value
        parts += [text[at : found.start()], "" if value is None else str(value)]
        at = found.end()
        if sum(map(len, parts)) > _LONGEST:
            raise ConfigError(f"{chain[0]} becomes too long when the references in it are replaced")
    return "".join([*parts, text[at:]])


def _referred(name: str, keys: Mapping[str, Any], chain: tuple[str, ...]) -> Any:
    place = f"{chain[-1]} contains ${{{name}}}"
    if ":" in name:
        raise ConfigError(
            f"{place}, and hal reads no environment variables or other sources into keys, because keys are written "
            "to records",
            fix="let the shell insert the value, for example: hal run data=npz:$DATA",
        )
    if name in chain:
        raise ConfigError(f"{place}, and the references lead in a circle", fix="give one of the keys a value")
    value: Any = keys
    for part in name.strip().split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ConfigError(f"{place}, and there is no key {name}", fix="name a key that is given: ${key}")
        value = value[part]
    if isinstance(value, Mapping | list):
        raise ConfigError(f"{place}, and {name} is not a single value", fix="name a key that holds one value")
    if len(chain) > _DEEPEST:
        raise ConfigError(f"{place}, and the references go through more than {_DEEPEST} keys")
    return _replaced(value, keys, (*chain, name)) if isinstance(value, str) else value


def _check_events(text: str) -> None:
    """Refuse what cannot be composed without deep recursion, and tags, which stand for types of Python."""
    depth = 0
    documents = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"it is nested more than {_DEEPEST} levels deep", problem_mark=event.start_mark
            )
        if documents > 1:
            raise yaml.MarkedYAMLError(problem="it holds more than one document (---)", problem_mark=event.start_mark)
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", f"{_PREFIX}str"):
            raise yaml.MarkedYAMLError(
                problem=f"it holds the tag {tag.replace(_PREFIX, '!!')}, and keys need none",
                problem_mark=event.start_mark,
            )


def _measure(node: Any, known: dict[int, tuple[int, int]], open_nodes: set[int]) -> tuple[int, int]:
    """How many values a node stands for and how deep they are, with aliases replaced by what they repeat."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in open_nodes:
        raise yaml.MarkedYAMLError(problem="an alias refers to a value that contains it", problem_mark=node.start_mark)
    open_nodes.add(id(node))
    inner = () if isinstance(node, yaml.ScalarNode) else node.value
    children = [each for child in inner for each in (child if isinstance(child, tuple) else (child,))]
    count, depth = 1, 0
    for child in children:
        inner_count, inner_depth = _measure(child, known, open_nodes)
        count, depth = count + inner_count, max(depth, inner_depth + 1)
        if count > _MOST_VALUES or depth > _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"it holds more than {_MOST_VALUES:,} values, or values more than {_DEEPEST} levels deep",
                problem_mark=node.start_mark,
            )
    open_nodes.discard(id(node))
    known[id(node)] = count, depth
    return known[id(node)]


def _as_written(node: Any, place: tuple[str, ...], is_text: IsText) -> Any:
    """A copy of a node in which the values of keys that are text are texts, whatever else YAML takes them for.

    A copy, since an alias may stand for the value of several keys.
    """
    if isinstance(node, yaml.ScalarNode):
        kind = _KINDS.get(node.tag)
        written = kind is not None and is_text(place, Plain(node.value, kind))
        return yaml.ScalarNode(_STR, node.value, node.start_mark, node.end_mark) if written else node
    if isinstance(node, yaml.SequenceNode):
        inner: list[Any] = [_as_written(each, (*place, "*"), is_text) for each in node.value]
    else:
        inner = [(key, _as_written(value, _below(place, key), is_text)) for key, value in node.value]
    return type(node)(node.tag, inner, node.start_mark, node.end_mark)


def _below(place: tuple[str, ...], key: Any) -> tuple[str, ...]:
    """The parts of a key inside another; what ``<<`` merges stands beside it."""
    if key.tag == f"{_PREFIX}merge":
        return place
    return (*place, *(key.value.split(".") if isinstance(key, yaml.ScalarNode) else ""))


def _checked(value: Any) -> Any:
    """A value whose integers fit in 64 bits, as those of every framework do."""
    if isinstance(value, dict):
        return {key: _checked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_checked(inner) for inner in value]
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        raise ValueError("it holds an integer that does not fit in 64 bits")
    return value


def _problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, in one line."""
    if isinstance(error, yaml.MarkedYAMLError):
        line = "" if error.problem_mark is None else f" (line {error.problem_mark.line + 1})"
        return f"{error.problem or error.context}{line}"
    return next(iter(str(error).splitlines()), "it cannot be read")
