"""Nested dicts of arrays as one flat dict by path, and back: the form in which files hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["flat", "nested", "paths"]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of nested dicts by path, for example ``body/conv2d/kernel``; each in C order."""
    return {path: np.asarray(value, order="C") for path, value in paths(tree, prefix)}


def paths(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of nested dicts as they are, each with its path."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from paths(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Nested dicts from arrays by path, the inverse of :func:`flat`; an empty dict has no path and is lost."""
    tree: dict[str, Any] = {}
    for path, value in sorted(arrays.items()):
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree
