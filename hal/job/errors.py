"""Turns what a framework raises into errors of hal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hal.contract import Backend
from hal.errors import HalError, RunError

__all__ = ["classified"]


@contextlib.contextmanager
def classified(backend: Backend) -> Iterator[None]:
    """Raise what the backend makes of its framework's exceptions."""
    try:
        yield
    except HalError:
        raise
    except Exception as error:
        named = backend.classify(error)
        if named is None and isinstance(error, OSError):
            where = f" {error.filename}" if error.filename else ""
            named = RunError(f"cannot read or write{where}: {error.strerror}", fix="check the disk's space and rights")
        if named is None:
            raise
        raise named from error
