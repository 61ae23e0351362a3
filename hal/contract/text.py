"""Plans and numbers in words, for people."""

from __future__ import annotations

from hal.contract.plan import Plan

__all__ = ["bytes_text", "number", "plan_changes", "plan_line"]


def bytes_text(count: float) -> str:
    """A number of bytes."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def plan_line(plan: Plan) -> str:
    """A plan in one line; what is usual is left out."""
    words = [f"batch {plan.batch}", plan.precision, plan.layout]
    words += [plan.compile if plan.compile in ("auto", "eager") else f"compile {plan.compile}"]
    words += [f"{plan.threads} thread{'s' * (plan.threads > 1)}"] if plan.threads is not None else []
    words += [f"accumulate {plan.accumulate}"] if plan.accumulate != 1 else []
    words += [f"conv {plan.conv}"] if plan.conv not in ("auto", "direct") else []
    words += [f"pool {plan.pool}"] if plan.pool not in ("auto", "window") else []
    words += [plan.parallel] if plan.parallel != "none" else []
    return ", ".join(words)


def plan_changes(plan: Plan, default: Plan) -> str:
    """How a plan differs from the default, in few words."""
    words = []
    for key, value in plan.changes(default).items():
        if key == "threads":
            words.append("threads auto" if value is None else f"{value} thread{'s' * (value > 1)}")
        else:
            words.append(str(value) if key in ("precision", "layout", "parallel") else f"{key} {value}")
    return ", ".join(words) or "the default plan"


def number(value: float) -> str:
    """A number with four significant digits, thousands apart."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2g}"
