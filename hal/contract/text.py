"""Plans and numbers in words, for people."""

from __future__ import annotations

from typing import Any

from hal.contract.plan import Plan

__all__ = ["bytes_text", "number", "plan_changes", "plan_line"]


def bytes_text(count: float) -> str:
    """A number of bytes."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


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
        return f"{value} {traits.unit}{'s' * (value > 1)}"
    return f"{key} {value}" if traits.named else str(value)


def number(value: float) -> str:
    """A number with four significant digits, thousands apart."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2g}"
