"""``hal report``: write the HTML report of a tuning again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hal.cli.command import Command, Json, Panel
from hal.cli.guard import guard
from hal.cli.terminal import print_json, visible, write

__all__ = ["COMMAND"]


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that hal tune wrote to.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="Write the report to this file instead of DIR/report.html."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Write a page."""

    def work() -> int:
        from hal.tuner.report import report_of
        from hal.util.paths import user_path

        path = report_of(user_path(folder), None if out is None else user_path(out))
        if json_output:
            print_json({"report": str(path)})
        else:
            write(f"{visible(path)}\n")
        return 0

    guard(work, json_output)


COMMAND = Command(
    report,
    help="Regenerate the HTML report of a tuning.\n\nThe report is one file that any browser opens without a network.",
    panel=Panel.SPEED,
    examples=("hal report runs/tune-cnn-cpu-20261122-001223 --out cnn.html",),
)
