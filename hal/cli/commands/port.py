"""``hal port``: what in a project keeps it from another vendor's card, and what to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hal.cli.command import Command, Json, Panel
from hal.cli.guard import guard
from hal.cli.terminal import print_json, write

__all__ = ["COMMAND"]

# Options whose names contain the name of a vendor stand in data, as all names of vendors do.
_OPTIONS = json.loads((Path(__file__).parents[2] / "porting" / "options.json").read_text(encoding="utf-8"))


def port(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="The project: a folder, or a single file.", show_default=False),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TARGET", help="Where it is to run: rocm, cuda, cpu, jax or opencl.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="ORIGIN", help="What it was written for: cuda or rocm.")
    ] = None,
    release: Annotated[
        str | None, typer.Option(*_OPTIONS["release"], metavar="X.Y", help=_OPTIONS["release_help"])
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", metavar="NAME", help="Architecture of the card, such as gfx942.")
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", metavar="RULE", help="Look only for this rule, or rules that begin so; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="RULE", help="Do not look for this rule, or rules that begin so; repeatable."),
    ] = None,
    min_severity: Annotated[
        str | None,
        typer.Option("--min-severity", metavar="WORD", help='Show from "slow", "wrong results" or "blocks" upwards.'),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="Leave out these paths; repeatable.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="Show only what this earlier report (--json) does not have."),
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print rules instead: those named in place of PATH, or a list of all.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Print the safe changes as a patch; change nothing.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Make the safe changes in the files.")] = False,
    suggestions: Annotated[
        bool,
        typer.Option(
            "--suggestions", help="With --diff or --fix: also changes that change what the code does on the old vendor."
        ),
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="With --fix: also change files with uncommitted changes.")
    ] = False,
    convert: Annotated[
        Path | None,
        typer.Option(
            "--convert", metavar="OUT", help="Write the C++ sources, converted by PyTorch, to this new folder."
        ),
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Also write the findings as SARIF, for code review.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write the report as a page for a browser.")
    ] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Print the findings as annotations of GitHub's workflows.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Judge a project."""

    def work() -> int:
        from hal.cli.commands._port_view import show_report, show_rules
        from hal.cli.styled import note
        from hal.errors import ConfigError
        from hal.porting import reports
        from hal.porting.config import settings
        from hal.porting.request import Request, carry_out

        if rules:
            show_rules(str(path) if path is not None else None, as_json=json_output)
            return 0
        if path is None:
            raise ConfigError("hal port needs the path of a project", fix="write for example: hal port .")
        from hal.util.files import write_text
        from hal.util.paths import user_path

        place = user_path(path)
        config = settings(
            place,
            to=to,
            origin=origin,
            release=release,
            arch=arch,
            select=tuple(select or ()),
            ignore=tuple(ignore or ()),
            min_severity=min_severity,
            exclude=tuple(exclude or ()),
            baseline=baseline,
        )
        asked = Request(diff=diff, fix=fix, suggestions=suggestions, allow_dirty=allow_dirty, convert=convert)
        found = carry_out(place, config, asked, note)
        if sarif is not None:
            write_text(user_path(sarif), reports.sarif_text(found.report))
        if html is not None:
            write_text(user_path(html), reports.html_text(found.report))
        if json_output:
            print_json(found.report.model_dump(mode="json"))
        elif diff:
            write(found.patch)
        elif github:
            write(reports.annotations_text(found.report))
        if not json_output:
            show_report(found, to_stderr=diff or github)
        return 0 if found.report.verdict.runs else 1

    guard(work, json_output)


COMMAND = Command(
    port,
    help="Find out whether a project runs on another vendor's card, and what must change.\n\n"
    "Reads Python, CUDA C++, notebooks, builds, packages, containers and scripts, and runs nothing of them. Exit "
    "status: 0 nothing found that blocks or gives wrong results, 1 something found, 2 the request is invalid, 3 a "
    "conversion needs PyTorch.",
    panel=Panel.PORTABILITY,
    examples=(
        "hal port .",
        "hal port . --arch gfx942 --min-severity slow",
        "hal port . --diff > port.patch",
        "hal port . --convert converted",
        "hal port . --sarif port.sarif --html port.html",
        "hal port --rules HAL302",
    ),
)
