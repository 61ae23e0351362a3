"""Which outcome of a trial an exception stands for."""

from __future__ import annotations

from hal.errors import NumericsError, OutOfMemoryError, RequestError, UnavailableError
from hal.tuner.trial_result import Outcome

__all__ = ["first_line", "outcome_of"]


def outcome_of(error: BaseException) -> tuple[Outcome, str]:
    """The outcome of a trial that ended with an exception, and a message for people."""
    said = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return Outcome.OOM, said
    if isinstance(error, NumericsError):
        return Outcome.NAN, said
    if isinstance(error, (RequestError, UnavailableError)):
        return Outcome.UNSUPPORTED, said
    return Outcome.FAILED, said


def first_line(error: BaseException | None) -> str:
    """The first line of an exception's message, at most 300 characters."""
    return next(iter(str(error).strip().splitlines()), "")[:300]
