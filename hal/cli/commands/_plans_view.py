"""What ``hal plans`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from hal.cli.styled import console, escaped
from hal.contract.text import estimate_text, plan_line, ratio_text
from hal.job.stored_plans import StoredPlan

__all__ = ["show_plans"]


def show_plans(plans: Sequence[StoredPlan]) -> None:
    """Each stored plan in three lines: what it is for, the plan, its throughput."""
    out = console()
    if not plans:
        out.print("No plan is stored yet. To find and store one: [bold]hal tune model=cnn[/]")
        return
    for each in plans:
        at = each.fingerprint
        device = f"{escaped(at.backend)} {escaped(at.name)} ({escaped(at.arch)})"
        out.print(
            f"[bold]{escaped(at.model)}[/] ({at.mode}), best {escaped(each.objective)} on {device}, "
            f"found {escaped(each.when[:10])}"
        )
        out.print(f"  [green]{escaped(plan_line(each.plan))}[/]")
        over = f", {escaped(ratio_text(each.over_default))} the default plan" if each.over_default else ""
        out.print(f"  {escaped(estimate_text(each.throughput))}{over}")
    out.print("\nTo use a stored plan: [bold]hal run ... plan=tuned[/]")
    out.print("To share all of them: [bold]hal plans --export FILE.json[/]")
