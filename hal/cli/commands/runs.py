"""``hal runs``: list the runs in a folder, or compare two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hal.cli.command import Command, Json, Panel
from hal.cli.guard import guard
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]

_MOST = 50
"""Runs that a table lists unless the user says otherwise."""


def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR | A B]",
            help="A folder that contains runs, or the folders of two runs to compare. Default: runs.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="KEY", help="when, best, model, data, device, state or name.")
    ] = "when",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="KEY=VALUE", help="List only runs with this value, such as model=cnn."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="List at most this many runs. Default: 50; with --json all.",
            show_default=False,
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """List or compare."""

    def work() -> int:
        from dataclasses import asdict

        from hal.after.runs import SORTS, find_runs, none_selected, selected_runs, sorted_runs
        from hal.cli.commands._runs_view import show_comparison, show_runs
        from hal.errors import ConfigError
        from hal.util.paths import user_path

        at = [user_path(path) for path in paths or [Path("runs")]]
        if len(at) > 2:
            raise ConfigError(f"{len(at)} folders were given", fix="give one folder to list, or two runs to compare")
        if len(at) == 2:
            from hal.after.comparison import compare_runs

            found = compare_runs(*at)
            if json_output:
                print_json(asdict(found))
            else:
                show_comparison(found, *at)
            return 0
        if sort not in SORTS:
            raise ConfigError(f"--sort {sort} is not known", fix=f"use one of: {', '.join(SORTS)}")
        there = find_runs(at[0])
        entries = sorted_runs(selected_runs(there, where or []), sort)
        most = limit or (len(entries) if json_output else _MOST) or 1
        shown = entries[:most] if sort == "best" else entries[-most:]
        if json_output:
            print_json([entry.as_json() for entry in shown])
        else:
            why_none = none_selected(there, where or []) if there and not entries else ""
            show_runs(shown, at[0], len(entries) - len(shown), why_none)
        return 0

    guard(work, json_output)


COMMAND = Command(
    runs,
    help="List the runs in a folder, or compare two runs.\n\nOf each run: model, data, plan, device, the best metric, "
    "when it began, and its state. Of two runs: what differs in keys, plan and results, and what the numbers can tell.",
    panel=Panel.MODELS,
    examples=(
        "hal runs",
        "hal runs runs --where model=cnn --where state=done --sort best",
        "hal runs runs/cnn-cpu-20261122-001223 runs/cnn-cpu-20261122-004501",
    ),
)
