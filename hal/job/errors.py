"""Turns the exceptions of a framework into errors of hal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hal.contract import Backend
from hal.errors import HalError, RunError

__all__ = ["classified"]


@contextlib.contextmanager
def classified(backend: Backend) -> Iterator[None]:
    """In a block, raise the hal error that the backend has for an exception of its framework, from the original."""
    try:
        yield
    except HalError:
        raise
    except Exception as error:
        named = backend.classify(error)
        if named is None and isinstance(error, OSError):
            where = f" {error.filename}" if error.filename else ""
            named = RunError(
                f"cannot read or write{where}: {error.strerror}",
                fix="check the free disk space and the permissions",
            )
        if named is None:
            raise
        raise named from error
