"""``hal plans``: the plans that tunings have stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hal.cli.command import Command, Json, Panel
from hal.cli.guard import guard
from hal.cli.terminal import print_json, visible, write

__all__ = ["COMMAND"]


def plans(
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE.json", help="Write all stored plans to a file, to share them."),
    ] = None,
    import_: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE.json", help="Add the plans from a file that --export wrote."),
    ] = None,
    json_output: Json = False,
) -> None:
    """List, export, import."""

    def work() -> int:
        from hal.cli.commands._plans_view import show_plans
        from hal.contract.text import counted
        from hal.job.stored_plans import export_plans, import_plans, stored
        from hal.util.paths import user_path

        if import_ is not None:
            count = counted(len(import_plans(user_path(import_))), "plan")
            write(f"Imported {count} from {visible(import_)}.\n", to_stderr=True)
        found = stored()
        if export is not None:
            export_plans(user_path(export), found)
            write(f"Wrote {counted(len(found), 'plan')} to {visible(export)}.\n", to_stderr=True)
        if json_output:
            print_json([each.model_dump(mode="json") for each in found])
        elif export is None:
            show_plans(found)
        return 0

    guard(work, json_output)


COMMAND = Command(
    plans,
    help="List the plans that hal tune has stored, or share them as a file.",
    panel=Panel.SPEED,
    examples=("hal plans", "hal plans --export team.json", "hal plans --import team.json"),
)
