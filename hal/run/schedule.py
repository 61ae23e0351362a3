"""How the learning rate changes over a training: a factor on it for each optimizer step."""

from __future__ import annotations

import math

from hal.run.config import ScheduleName, ScheduleSection

__all__ = ["lr_factor"]

_DIVISOR, _FINAL_DIVISOR = 25.0, 1e4
"""One cycle begins at 1/25 of the learning rate and ends at 1/10,000 of that, as in the paper's implementations."""


def lr_factor(name: ScheduleName, keys: ScheduleSection, done: int, total: int, per_epoch: int) -> float:
    """The factor on the learning rate of one optimizer step.

    Args:
        name: of the schedule.
        keys: its constants.
        done: optimizer steps before this one, of those that the schedule spans.
        total: how many steps it spans.
        per_epoch: steps of an epoch.

    Returns:
        A number in [0, 1]; 1 is the learning rate itself.

    >>> [lr_factor("cosine", ScheduleSection(), done, 4, 4) for done in (0, 2, 4)]
    [1.0, 0.5, 0.0]
    """
    if name == "onecycle":
        return _one_cycle(keys.rise, done, total)
    if done < keys.warmup:
        return (done + 1) / keys.warmup
    if name == "step":
        return keys.factor ** (done // per_epoch // keys.every)
    if name == "cosine":
        rest = max(total - keys.warmup, 1)
        return keys.least + (1 - keys.least) * _cosine(min((done - keys.warmup) / rest, 1.0))
    return 1.0


def _one_cycle(rise: float, done: int, total: int) -> float:
    """Up along half a cosine, then down to almost nothing along another (Smith and Topin, arXiv 1708.07120)."""
    top = rise * total - 1
    if done <= top:
        return 1 - (1 - 1 / _DIVISOR) * _cosine(done / top if top > 0 else 1.0)
    end = 1 / (_DIVISOR * _FINAL_DIVISOR)
    return end + (1 - end) * _cosine(min((done - top) / max(total - 1 - top, 1), 1.0))


def _cosine(share: float) -> float:
    """From 1 down to 0 as the share goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * share))
