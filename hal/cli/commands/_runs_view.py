"""What ``hal runs`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hal.after.runs import RunEntry
from hal.cli.styled import console, escaped
from hal.cli.table import table, without_shared
from hal.util.numbers import counted, number

if TYPE_CHECKING:
    from hal.after.comparison import Difference, RunComparison

__all__ = ["show_comparison", "show_runs"]

_COLUMNS = ("run", "model", "data", "device", "best#", "epochs#", "when", "state", "plan")
_NAMES = (("model", "data"), ("run",))
"""Columns of names; that of the run is what somebody copies, so it is shortened last."""

_SHARED = ("model", "data", "device", "when", "state")
"""Columns that become a line above a table that is too wide, if all runs have the same there."""

_WIDE = 120
"""A narrower terminal has no room for the plans."""

_STYLES = {"failed": "red", "damaged": "red", "killed": "yellow", "interrupted": "yellow", "running": "cyan"}


def show_runs(entries: Sequence[RunEntry], root: Path, left_out: int, why_none: str = "") -> None:
    """A row for each run.

    Args:
        entries: the runs.
        root: where they were looked for.
        left_out: how many more there are, which --limit leaves out.
        why_none: why there are none although runs were found; empty: none was found.
    """
    out = console()
    if not entries and why_none:
        out.print(escaped(why_none), soft_wrap=True)
        return
    if not entries:
        out.print(f"No run was found in {escaped(root)}. To make one: [bold]hal run model=cnn[/]")
        return
    rows = [_row(entry, root) for entry in entries]
    styles = [_STYLES.get(entry.state, "") for entry in entries]
    shown = [at for at, name in enumerate(_COLUMNS) if name != "plan" or out.width >= _WIDE]
    columns, cells, alike = without_shared(
        [_COLUMNS[at] for at in shown], [[row[at] for at in shown] for row in rows], _SHARED, out.width
    )
    if alike:
        out.print(f"[dim]{escaped(alike)}[/]", soft_wrap=True)
    out.print(table(columns, cells, styles=styles, folded=("plan",), shortened=_NAMES, width=out.width))
    if left_out:
        out.print(f"[dim]{counted(left_out, 'more run')} not shown; --limit shows more of them.[/]")
    for entry in entries:
        if entry.problem:
            out.print(f"[dim]{escaped(_named(entry.folder, root))}: {escaped(entry.problem)}[/]")


def _named(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root)) if folder != root else folder.name


def _row(entry: RunEntry, root: Path) -> tuple[str, ...]:
    best = "" if entry.best is None else f"{entry.metric} {number(entry.best)}"
    return (
        _named(entry.folder, root),
        entry.model,
        entry.data,
        entry.device,
        best,
        str(entry.epochs) if entry.started else "",
        entry.started[:10],
        entry.state,
        entry.plan,
    )


def show_comparison(found: RunComparison, first: Path, second: Path) -> None:
    """What differs between two runs, and what that says."""
    out = console()
    heads = (str(first), str(second))
    for title, differences in (
        ("Keys", found.keys),
        ("Plan", found.plan),
        ("Device and software", found.surroundings),
    ):
        if differences:
            out.print(f"[bold]{title}[/]")
            out.print(table((title.lower(), *heads), _rows(differences)))
            out.print()
        else:
            out.print(f"[dim]{title}: no difference[/]")
    out.print("[bold]Results[/]")
    out.print(table(("result", f"{heads[0]}#", f"{heads[1]}#"), _rows(found.results)))
    out.print()
    for verdict in found.verdicts:
        out.print(escaped(verdict))


def _rows(differences: Sequence[Difference]) -> list[tuple[str, str, str]]:
    return [(each.name, each.first or "-", each.second or "-") for each in differences]
