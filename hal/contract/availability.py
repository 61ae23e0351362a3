"""Whether a backend can run here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Available", "Unavailable"]


@dataclass(frozen=True)
class Available:
    """A backend that can run here. ``detail`` names the runtime, for example ``torch 2.13.0+cpu``."""

    detail: str


@dataclass(frozen=True)
class Unavailable:
    """A backend that cannot run here.

    Attributes:
        reason: what is installed and what is missing.
        fix: the command or page that makes it available.
    """

    reason: str
    fix: str
