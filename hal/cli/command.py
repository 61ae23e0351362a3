"""What the file of a command declares, and the options that several commands share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Command", "ConfigFile", "Json", "Keys", "Panel", "complete_keys"]


def complete_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys and values that may stand where the cursor is; see :mod:`hal.cli.completion`."""
    from hal.cli import completion

    return completion.complete_keys(ctx, incomplete)


Keys = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", autocompletion=complete_keys, help="Keys of this command, such as model=cnn backend=cpu."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.yaml", help="Read keys from a file. Keys on the command line override it."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout; text for people goes to stderr.")]


class Panel(Enum):
    """The groups in which ``hal --help`` lists the commands, in this order."""

    MODELS = "Train and use models"
    SPEED = "Measure and tune"
    DEVICES = "Hardware"
    PORTABILITY = "Move between devices"


@dataclass(frozen=True)
class Command:
    """A command as ``hal`` offers it.

    Attributes:
        function: what Typer calls; its parameters are the arguments and options.
        help: what the command does: a sentence, which ``hal --help`` shows too, and more after an empty line.
        panel: where ``hal --help`` lists it.
        examples: command lines that work as they stand, or with the reader's own files.
        config_path: where the model of the command's ``key=value`` pairs is, as ``module:class``; empty: it takes none.
        keys_note: a sentence about further keys, shown below the list.
    """

    function: Callable[..., None]
    help: str
    panel: Panel
    examples: tuple[str, ...]
    config_path: str = ""
    keys_note: str = ""

    @property
    def config(self) -> type[BaseModel] | None:
        """The model of the keys, imported when it is asked for; None: the command takes no keys."""
        if not self.config_path:
            return None
        module, _, name = self.config_path.partition(":")
        found: type[BaseModel] = getattr(importlib.import_module(module), name)
        return found
