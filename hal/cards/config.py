"""The keys of ``hal card``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from hal.config import LONGEST_S, Keys

__all__ = ["SHORTEST_S", "CardConfig"]

SHORTEST_S = 20.0
"""Below this, a figure gets less than a second, and its interval says little."""


class CardConfig(Keys):
    """The keys of ``hal card``."""

    device: str = Field(
        default="auto", description="The device: cpu, cuda:0, jax:cpu:0, ..., or auto (the best one here)."
    )
    seconds: float = Field(
        default=120.0,
        ge=SHORTEST_S,
        le=LONGEST_S,
        description="How long the measurements may take; the loading of the framework comes on top.",
    )
    power_limits: tuple[float, ...] | None = Field(
        default=None,
        description="Power caps in watts to try, separated by commas; finds the one with the most samples per joule. "
        "The cap that was set before is restored, also after a kill.",
    )
    html: str | None = Field(default=None, description="File to write the certificate to as a page for a browser.")
    keep: bool = Field(
        default=True, description="Whether the result is kept, so that the next one can say what has changed."
    )

    @field_validator("power_limits", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        return [value] if isinstance(value, int | float) else value

    @field_validator("power_limits")
    @classmethod
    def _positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and (not value or min(value) <= 0 or len(set(value)) < len(value)):
            raise ValueError("name one or more different numbers of watts, for example power_limits=300,400,500")
        return value
