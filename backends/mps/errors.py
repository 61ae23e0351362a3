"""What PyTorch raises where an Apple GPU lacks a type."""

from __future__ import annotations

import re

from hal.errors import UnsupportedError

__all__ = ["unsupported_type"]

_NO_TYPE = r"(?:Cannot convert a MPS Tensor to|Trying to convert) (\w+)"


def unsupported_type(error: BaseException) -> UnsupportedError | None:
    """The error of hal for a type that the device lacks; None if the exception says nothing of the kind."""
    found = re.search(_NO_TYPE, str(error)) if isinstance(error, TypeError) and "MPS" in str(error) else None
    if found is None:
        return None
    return UnsupportedError(
        f"Apple GPUs do not have the type {found[1]}", fix="use float32, or backend=cpu, which has it"
    )
