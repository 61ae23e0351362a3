"""How numbers are written for people; light, so that a command that lists much need not load more."""

from __future__ import annotations

__all__ = ["counted", "number"]


def number(value: float) -> str:
    """A number with four significant digits and commas between thousands.

    >>> number(12345.6), number(0.98765), number(3.0)
    ('12,346', '0.9877', '3')
    """
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2g}"


def counted(count: int, noun: str) -> str:
    """A number and its noun, in the plural where it is not one.

    >>> counted(1, "plan"), counted(2000, "trial")
    ('1 plan', '2,000 trials')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"
