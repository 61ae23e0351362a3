"""Names for what hal passes around without looking inside."""

from typing import Any, TypeAlias

__all__ = ["Array", "Tree"]

Array: TypeAlias = Any
"""A native array of some framework; hal wraps functions, never arrays."""

Tree: TypeAlias = Any
"""Nested dicts, lists and tuples of arrays."""
