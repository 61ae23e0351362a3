"""How numbers, sizes, intervals and plans are written for people, on the command line and on pages alike."""

from __future__ import annotations

from typing import Any, Protocol

from hal.contract.plan import Plan
from hal.util.numbers import counted, number
from hal.util.sizes import bytes_text

__all__ = [
    "Interval",
    "bytes_text",
    "counted",
    "estimate_text",
    "interval_text",
    "number",
    "plan_changes",
    "plan_line",
    "prefixed",
    "ratio_text",
    "seconds_text",
]


class Interval(Protocol):
    """A value with its confidence interval, such as :class:`hal.measure.Estimate`."""

    @property
    def median(self) -> float:
        """The value."""
        ...

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        ...

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        ...

    @property
    def unit(self) -> str:
        """Unit of all three."""
        ...


def prefixed(value: float, unit: str) -> str:
    """A number with three significant digits and a decimal prefix before its unit.

    >>> prefixed(2.5e12, "FLOP"), prefixed(950, "B")
    ('2.5 TFLOP', '950 B')
    """
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def interval_text(low: float, high: float) -> str:
    """The ends of an interval.

    >>> interval_text(4410, 4700)
    '[4,410, 4,700]'
    """
    return f"[{number(low)}, {number(high)}]"


def estimate_text(found: Interval | None, *, unit: bool = True) -> str:
    """A number with its unit and interval; empty where there is none.

    Args:
        found: the estimate.
        unit: whether the unit is written; a table may have it in its header.
    """
    if found is None:
        return ""
    return f"{number(found.median)}{f' {found.unit}' if unit else ''} {interval_text(found.low, found.high)}"


def ratio_text(found: Interval | None) -> str:
    """A ratio with its interval, such as ``1.60× [1.53, 1.69]``; empty where there is none."""
    return "" if found is None else f"{found.median:.2f}× [{found.low:.2f}, {found.high:.2f}]"


def seconds_text(seconds: float) -> str:
    """A duration in milliseconds, seconds, minutes or hours.

    >>> seconds_text(0.0042), seconds_text(4.25), seconds_text(90), seconds_text(600), seconds_text(9000)
    ('4.2 ms', '4.2 s', '90 s', '10 min', '2.5 h')
    """
    if 0 < seconds < 0.1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plan_line(plan: Plan) -> str:
    """A plan in one line; what is usual is left out."""
    words = []
    for key, field in Plan.model_fields.items():
        value, traits = getattr(plan, key), Plan.traits(key)
        if traits.always or value not in (field.default, *traits.usual):
            words.append(str(value) if value in traits.clear else _key_text(key, value))
    return ", ".join(words)


def plan_changes(plan: Plan, default: Plan) -> str:
    """How a plan differs from the default, in few words."""
    words = [_key_text(key, value) for key, value in plan.changes(default).items()]
    return ", ".join(words) or "the default plan"


def _key_text(key: str, value: Any) -> str:
    """A key of a plan and its value, for example ``2 threads`` or ``conv patches``."""
    traits = Plan.traits(key)
    if value is None:
        return f"{key} auto"
    if traits.unit:
        return counted(value, traits.unit)
    return f"{key} {value}" if traits.named else str(value)
