"""``hal report``: write the HTML page about a run or a tuning."""

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
        Path, typer.Argument(metavar="DIR", help="The folder that hal run or hal tune wrote to.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="Write the report to this file instead of DIR/report.html."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Write a page."""

    def work() -> int:
        from hal.after.run_report import report_of_run
        from hal.errors import NotFoundError
        from hal.tuner.report import report_of
        from hal.util.paths import user_path

        at = user_path(folder)
        is_run = (at / "record.json").exists()
        if not is_run and not any((at / name).exists() for name in ("tuning.json", "config.json")):
            raise NotFoundError(
                f"{at} contains neither a run nor a tuning", fix="give the folder that hal run or hal tune wrote"
            )
        path = (report_of_run if is_run else report_of)(at, None if out is None else user_path(out))
        if json_output:
            print_json({"report": str(path)})
        else:
            write(f"{visible(path)}\n")
        return 0

    guard(work, json_output)


COMMAND = Command(
    report,
    help="Write the HTML page about a run, or about a tuning again.\n\nOf a run it shows the curves, what the best "
    "model gets wrong on the held-out samples, and how to go on. The page is one file that any browser opens without a "
    "network.",
    panel=Panel.SPEED,
    examples=(
        "hal report runs/cnn-cpu-20261122-001223",
        "hal report runs/tune-cnn-cpu-20261122-001223 --out cnn.html",
    ),
)
