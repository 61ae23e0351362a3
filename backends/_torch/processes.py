"""Counts the processes on a card that are not this one, from the numbers that a vendor's library tells."""

from __future__ import annotations

import os
from collections.abc import Iterable

import psutil

__all__ = ["count_others"]


def count_others(numbers: Iterable[int]) -> int:
    """Processes besides this one.

    Drivers tell the numbers that the host's kernel gives. Where these are known here, this process is left out if it is
    listed; it is not before it has used the card. In a container this process has another number than the driver tells,
    and the driver tells numbers that no process here has. Then one of them is taken for this one: exact once it has
    used the card, and one too few before.

    Args:
        numbers: of all processes on the card, as the driver tells them.
    """
    found = set(numbers)
    if os.getpid() in found:
        return len(found) - 1
    return len(found) if all(map(psutil.pid_exists, found)) else len(found) - 1
