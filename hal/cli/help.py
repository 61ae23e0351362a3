"""Help below a command's options: its keys, read off its config model, and its examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hal.cli.command import Command
from hal.cli.styled import console, escaped

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["print_keys"]

_DEFAULT_WIDTH = 18
"""Columns for a default; a longer one is folded."""


def print_keys(command: Command) -> None:
    """Print the keys of a command, those of the built-in models, and the command's examples."""
    out = console()
    if (config := command.config) is not None:
        for title, rows in _sections(config):
            out.print()
            out.print(_table(title, rows))
    if command.keys_note:
        out.print(f"\n{escaped(command.keys_note)}")
    out.print(f"\n[bold]Example{'s' * (len(command.examples) > 1)}[/]")
    for example in command.examples:
        out.print(f"  {escaped(example)}", soft_wrap=True)


def _sections(config: type[BaseModel]) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    from hal.config import PlanKeys, section_of
    from hal.workload import BUILT_IN, model_class

    if "model" not in config.model_fields:
        yield "Keys", list(_rows(config, ""))
        return
    if section_of(config.model_fields["model"].annotation) is None:  # the model of a run, with the keys that it has
        yield "Keys", list(_rows(config, "", skip=tuple(PlanKeys.model_fields)))
        yield "Keys of the plan", list(_rows(PlanKeys, "", skip=("parallel", "accumulate")))
        return
    model = ("model", "", f"{', '.join(BUILT_IN)}, or your own: path/to/file.py:Name")
    yield "Keys", [model, *_rows(config, "", skip=("model", "versus", *PlanKeys.model_fields))]
    yield "Keys of the plan", list(_rows(PlanKeys, ""))
    for name in BUILT_IN:
        yield f"Keys of model={name}", list(_rows(model_class(name).Config, "model."))


def _table(title: str, rows: Sequence[tuple[str, str, str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("key", style="cyan", no_wrap=True)
    defaults = any(default for _, default, _ in rows)
    if defaults:
        table.add_column("default", style="green", overflow="fold", max_width=_DEFAULT_WIDTH)
    table.add_column("meaning", overflow="fold")
    for key, default, meaning in rows:
        table.add_row(*map(escaped, (key, default, meaning) if defaults else (key, meaning)))
    return table


def _rows(config: type[BaseModel], prefix: str, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str]]:
    from hal.config import section_of

    for name, field in config.model_fields.items():
        if name in skip:
            continue
        section = section_of(field.annotation)
        given = field.get_default(call_default_factory=True)
        if section is None:
            yield prefix + name, _default(given), field.description or ""
            continue
        for inner, inner_field in section.model_fields.items():
            key = f"{prefix}{name}" if inner == "name" else f"{prefix}{name}.{inner}"
            value = getattr(given, inner) if given is not None else inner_field.default
            default, meaning = _default(value), inner_field.description or ""
            # A command may have a default of its own for a key whose description gives that of the others.
            yield key, default, meaning.partition(" Default: ")[0] if default else meaning


def _default(value: Any) -> str:
    """A default as a user would write it on the command line; empty where there is none."""
    from pydantic_core import PydanticUndefined

    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(map(_default, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
