"""Sizes in bytes, for people."""

from __future__ import annotations

__all__ = ["bytes_text"]


def bytes_text(count: float) -> str:
    """A number of bytes, in the largest unit of which there is at least one.

    >>> bytes_text(300), bytes_text(164 * 2**20), bytes_text(1000 * 2**20), bytes_text(79.2 * 2**30)
    ('300 B', '164 MiB', '1,000 MiB', '79.2 GiB')
    """
    size, unit = next(
        ((size, unit) for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")) if abs(count) >= size),
        (1, "B"),
    )
    value = count / size
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"
