"""The ``hal`` command: finds the commands in hal/cli/commands and gives them to Typer."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hal import __version__
from hal.cli import commands
from hal.cli.command import Command, Panel
from hal.cli.guard import guard
from hal.cli.streams import prepare_streams
from hal.cli.terminal import write
from hal.cli.typed import HintingCommand, HintingGroup

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["COMMANDS", "app", "main"]


def _found() -> dict[str, Command]:
    """Commands by their names, in the order in which help lists them."""
    names = [module.name for module in pkgutil.iter_modules(commands.__path__) if not module.name.startswith("_")]
    declared = {name: importlib.import_module(f"{commands.__name__}.{name}").COMMAND for name in names}
    panels = list(Panel)
    return dict(sorted(declared.items(), key=lambda item: (panels.index(item[1].panel), item[0])))


COMMANDS = _found()

app = typer.Typer(
    name="hal",
    cls=HintingGroup,
    help="Run one model definition on any vendor's accelerator, and find the fastest correct way to run it there.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog="\n\n".join(
        (
            "Start with:  hal run model=cnn",
            "hal COMMAND --help lists every key of a command with its default and its meaning.",
            "Exit status: 0 success, 1 the command failed, 2 the request is invalid, 3 the backend or device is not "
            "available, 4 out of memory, 130 stopped by Ctrl-C.",
        )
    ),
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _CommandWithKeys(HintingCommand):
    """A command whose help goes on with its keys and examples.

    Its parameters are read from its function when it is asked for: to list the commands, their names and help are
    enough, and reading all parameters takes as long as loading hal.
    """

    _is_read = False

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Begin the command, or its completion."""
        if not self._is_read:
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command()(COMMANDS[self.name or ""].function)
            read = typer.main.get_command(alone)
            self.params, self.callback, self._is_read = read.params, read.callback, True
        return super().make_context(info_name, args, parent, **extra)

    @property
    def config(self) -> type[BaseModel] | None:
        """The model of its keys."""
        return COMMANDS[self.name or ""].config

    def format_help(self, ctx: Any, formatter: Any) -> None:
        def work() -> int:
            from hal.cli.help import print_keys

            print_keys(COMMANDS[self.name or ""])
            return 0

        super().format_help(ctx, formatter)
        guard(work, json_output=False)


def _not_read() -> None:
    """Stands for the function of a command until that is read."""


for _name, _command in COMMANDS.items():
    app.command(_name, cls=_CommandWithKeys, help=_command.help, rich_help_panel=_command.panel.value)(_not_read)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        write(f"hal {__version__}\n")
        raise typer.Exit
    if sys.platform == "win32":
        guard(_refuse, "--json" in sys.argv)


def _refuse() -> int:
    from hal.util.systems import refuse_windows

    refuse_windows()
    return 0


def main() -> None:
    """Entry point of the ``hal`` command."""
    try:
        with prepare_streams():
            app(prog_name="hal")
    except SystemExit as ended:
        from hal.targets.waiting import still_compiling

        if still_compiling():  # it cannot be told to stop
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        raise
