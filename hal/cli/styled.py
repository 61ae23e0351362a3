"""Styled text for people, printed with rich.

Text that hal did not write itself, such as the name of a file, the message of an error or a plan that was imported,
goes through :func:`escaped` before it is printed.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import Task, TextColumn
from rich.text import Text

from hal.cli.terminal import visible
from hal.errors import HalError

__all__ = ["PlainColumn", "console", "escaped", "note", "show_error"]


class PlainColumn(TextColumn):
    """A column of text beside a bar, in which ``:dog:`` stays as it is."""

    def render(self, task: Task) -> Text:
        """The text for a task."""
        return Text.from_markup(self.text_format.format(task=task), style=self.style, emoji=False)


def console(to_stderr: bool = False) -> Console:
    """Where text for people goes: stdout, or stderr where stdout belongs to JSON."""
    return Console(stderr=to_stderr, highlight=False, emoji=False)


def escaped(value: object, *, lines: bool = False) -> str:
    """The text of a value, made :func:`visible`, with brackets that rich does not take for markup."""
    return escape(visible(value, lines=lines))


def note(text: str) -> None:
    """Print one dim line to stderr about what is being done."""
    console(to_stderr=True).print(f"[dim]{escaped(text, lines=True)}[/]")


def show_error(error: HalError) -> None:
    """One message on stderr: what is wrong, then what to do."""
    err = console(to_stderr=True)
    err.print(f"[bold red]error:[/] {escaped(error.message, lines=True)}", soft_wrap=True)
    if error.fix is not None:
        err.print(f"[green]→[/] {escaped(error.fix, lines=True)}", soft_wrap=True)
