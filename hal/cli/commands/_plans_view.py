"""What ``hal plans`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from hal.cli.styled import console, escaped
from hal.cli.table import table, without_shared
from hal.contract.text import estimate_text, plan_line, ratio_text
from hal.job.stored_plans import StoredPlan

__all__ = ["show_plans"]

_FOLDED = ("device", "plan", "samples/s#", "over default#")
"""Columns with spaces in their cells."""


def show_plans(plans: Sequence[StoredPlan]) -> None:
    """A row for each stored plan: what it is for, the plan, its throughput."""
    out = console()
    if not plans:
        out.print("No plan is stored yet. To find and store one: [bold]hal tune model=cnn[/]")
        return
    columns = ("model", "mode", "device", "best", "plan", "samples/s#", "over default#", "found")
    rows = []
    for each in plans:
        at = each.fingerprint
        rows.append(
            (
                at.model,
                at.mode,
                f"{at.backend} {at.name} ({at.arch})",
                each.objective,
                plan_line(each.plan),
                estimate_text(each.throughput, unit=False),
                ratio_text(each.over_default),
                each.when[:10],
            )
        )
    heads, cells, alike = without_shared(columns, rows, ("model", "mode", "device", "best", "found"), out.width)
    if alike:
        out.print(f"[dim]{escaped(alike)}[/]", soft_wrap=True)
    out.print(table(heads, cells, folded=_FOLDED, shortened=[("model",)], width=out.width))
    out.print("\nTo use a stored plan: [bold]hal run ... plan=tuned[/]")
    out.print("To share all of them: [bold]hal plans --export FILE.json[/]")
