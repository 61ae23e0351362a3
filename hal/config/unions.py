"""What a key with several types takes, in words; pydantic tells one error for each type, by the type's own name."""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

__all__ = ["taken_by", "union_at"]

_BOUNDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
_UPPER = {"le": "less_than_equal", "lt": "less_than"}
"""Upper bounds, and the error of a value above: they are told only then, since most keep overflows out."""

_NAMES = {int: "whole number", float: "number"}


def union_at(cls: type[BaseModel], loc: Sequence[int | str]) -> tuple[tuple[int | str, ...], list[Any]] | None:
    """The key of several types in which an error is, and these types; None: it is in no such key.

    Args:
        cls: the config.
        loc: where pydantic found the error.
    """
    for depth, part in enumerate(loc[:-1], 1):
        field = cls.model_fields.get(str(part))
        if field is None:
            return None
        kinds = _kinds(field.annotation)
        if len(kinds) > 1:
            return tuple(loc[:depth]), kinds
        kind = kinds[0] if kinds else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return None
        cls = kind
    return None


def _kinds(annotation: Any) -> list[Any]:
    """The types of a union besides None, with their constraints."""
    if get_origin(annotation) in (Union, UnionType):
        return [kind for inner in get_args(annotation) for kind in _kinds(inner)]
    return [] if annotation is NoneType else [annotation]


def taken_by(kinds: Sequence[Any], errors: Sequence[str]) -> str:
    """What a key takes, in words.

    Args:
        kinds: its types.
        errors: the types of pydantic's errors.

    >>> taken_by([Literal["best", "all"], int], [])
    'best, all, or a whole number'
    """
    *others, last = [text for kind in kinds for text in _texts(kind, errors)]
    return f"{', '.join(others)}, or {last}" if others else last


def _texts(kind: Any, errors: Sequence[str]) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    plain, bounds = _bounded(kind, errors)
    if get_origin(plain) in (tuple, list):
        inner, bounds = _bounded(get_args(plain)[0], errors)
        return [f"{_NAMES.get(inner, 'value')}s{bounds}, separated by commas"]
    if plain in _NAMES:
        return [f"a {_NAMES[plain]}{bounds}"]
    return [{str: "text", bool: "true or false", dict: "keys with values"}.get(plain, "a value of another type")]


def _bounded(kind: Any, errors: Sequence[str]) -> tuple[Any, str]:
    """A type without its constraints, and these in words."""
    if get_origin(kind) is not Annotated:
        return kind, ""
    plain, *about = get_args(kind)
    found = [limit for each in about for limit in getattr(each, "metadata", [each])]
    texts = [
        f"{words} {getattr(limit, name)}"
        for limit in found
        for name, words in _BOUNDS.items()
        if hasattr(limit, name) and (name not in _UPPER or _UPPER[name] in errors)
    ]
    return plain, f" {' and '.join(texts)}" if texts else ""
