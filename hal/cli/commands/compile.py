"""``hal compile``: compile for hardware that is not present."""

from __future__ import annotations

from typing import Annotated

import typer

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import guard, shown_though_unsaved
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def compile_(
    keys: Keys = None,
    config: ConfigFile = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="DIR", help="Write StableHLO, optimized HLO, memory and cost to this new folder."
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Compile for other hardware."""

    def work() -> int:
        from hal.cli.commands._compile_view import Compiling, show_compilation
        from hal.config import build, read
        from hal.targets.compile import Compilation, compile_for_target
        from hal.targets.config import CompileConfig

        given = {**read(CompileConfig, keys or [], config), **({} if out is None else {"out": out})}

        def show(found: Compilation) -> None:
            if json_output:
                print_json(found.model_dump(mode="json"))
            else:
                show_compilation(found)

        with shown_though_unsaved(show), Compiling(to_stderr=json_output) as watch:
            found = compile_for_target(build(CompileConfig, given), watch)
        show(found)
        return found.exit_status

    guard(work, json_output)


COMMAND = Command(
    compile_,
    help="Compile a model for hardware that is not in this machine.\n\n"
    "The result says whether the model compiles, whether it fits in memory, the largest batch that fits, and an "
    "estimate of its speed.",
    panel=Panel.DEVICES,
    examples=(
        "hal compile model=cnn target=a100-80gb precision=bf16 batch=1024",
        "hal compile model=transfer target=h100 mode=infer --out compiled",
    ),
    config_path="hal.targets.config:CompileConfig",
)
