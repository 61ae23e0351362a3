"""What all commands share in the terminal: text for people, JSON on stdout, errors and exit statuses.

Text that hal did not write itself, such as the name of a file, the message of an error or a plan that was imported,
goes through :func:`escaped` before it is printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Task, TextColumn
from rich.text import Text

from hal.cli.streams import lasting_stream, lost_output
from hal.errors import HalError, UnsavedError
from hal.util.links import links_explained

__all__ = [
    "INTERRUPTED",
    "PlainColumn",
    "console",
    "escaped",
    "guard",
    "note",
    "print_json",
    "shown_though_unsaved",
    "visible",
    "write",
]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 plus the signal's number."""


_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which the characters after them are shown."""


class PlainColumn(TextColumn):
    """A column of text beside a bar, in which ``:dog:`` stays as it is."""

    def render(self, task: Task) -> Text:
        """The text for a task."""
        return Text.from_markup(self.text_format.format(task=task), style=self.style, emoji=False)


def console(to_stderr: bool = False) -> Console:
    """Where text for people goes: stdout, or stderr where stdout belongs to JSON."""
    return Console(stderr=to_stderr, highlight=False, emoji=False)


def visible(value: object, *, lines: bool = False) -> str:
    r"""The text of a value with characters that would act on a terminal shown as their codes.

    Args:
        value: any value.
        lines: whether the text may have several lines; otherwise a line break is shown as its code too.

    >>> visible("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    kept = "\n" if lines else ""
    return "".join(_code(each) if _acts(each) and each not in kept else each for each in str(value))


def escaped(value: object, *, lines: bool = False) -> str:
    """The text of a value, made :func:`visible`, with brackets that rich does not take for markup."""
    return escape(visible(value, lines=lines))


def _acts(character: str) -> bool:
    return character in _BIDIRECTIONAL or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _code(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else repr(character)[1:-1]


def note(text: str) -> None:
    """Print one dim line to stderr about what is being done."""
    console(to_stderr=True).print(f"[dim]{escaped(text, lines=True)}[/]")


def write(text: str, *, to_stderr: bool = False) -> None:
    """Print a text as it is."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.write(text)
    stream.flush()


def print_json(value: Any) -> None:
    """Print a value to stdout as JSON.

    Raises:
        UnsavedError: it cannot be written, although somebody wants it: half a result is none.
    """
    write(json.dumps(value, indent=1) + "\n")
    lost = lost_output(sys.stdout)
    if lost is not None:
        raise UnsavedError(f"the JSON was not written to stdout: {lost.strerror}")


@contextlib.contextmanager
def shown_though_unsaved(show: Callable[[Any], None]) -> Iterator[None]:
    """Around what finds a result: show the result also where it cannot be saved, before the error is reported."""
    try:
        yield
    except UnsavedError as error:
        if error.result is not None:
            with contextlib.suppress(UnsavedError):  # the first one is told
                show(error.result)
        raise


def guard(work: Callable[[], int], json_output: bool, *, interrupted: str = "Stopped.") -> None:
    """Run a command and exit with its status; turn an error of hal into a message and the status of its type.

    Args:
        work: does what the command is for; returns the exit status.
        json_output: whether stdout belongs to one JSON object.
        interrupted: what to say after a Ctrl-C that ended the work.

    Raises:
        typer.Exit: always, with the status, unless the work failed with an error that hal did not foresee.
    """
    try:
        with _only_json_on_stdout() if json_output else contextlib.nullcontext(), links_explained():
            status = work()
    except HalError as error:
        if json_output and not isinstance(error, UnsavedError):  # whose result the command has printed
            about = {"type": type(error).__name__, "message": error.message, "fix": error.fix}
            _print_error(about, error.exit_status)
        _show_error(error)
        status = error.exit_status
    except KeyboardInterrupt:
        write(f"{interrupted}\n", to_stderr=True)
        status = INTERRUPTED
    except Exception as error:
        if json_output:  # whoever reads the JSON gets some; the author of a model gets the traceback too
            about = {"type": type(error).__name__, "message": str(error), "fix": None}
            _print_error(about, 1)
        raise
    raise typer.Exit(status)


def _print_error(about: dict[str, Any], status: int) -> None:
    with contextlib.suppress(UnsavedError):  # the error matters more
        print_json({"error": about, "exit_status": status})


def _show_error(error: HalError) -> None:
    """One message on stderr: what is wrong, then what to do."""
    err = console(to_stderr=True)
    err.print(f"[bold red]error:[/] {escaped(error.message, lines=True)}", soft_wrap=True)
    if error.fix is not None:
        err.print(f"[green]→[/] {escaped(error.fix, lines=True)}", soft_wrap=True)


@contextlib.contextmanager
def _only_json_on_stdout() -> Iterator[None]:
    """Send to stderr what native libraries print on file descriptor 1."""
    try:
        real = sys.stdout.fileno() == 1
    except (OSError, ValueError):  # stdout is no file
        real = False
    if not real:
        yield
        return
    sys.stdout.flush()
    saved, ours = os.dup(1), sys.stdout
    os.dup2(2, 1)
    sys.stdout = lasting_stream(saved, "utf-8")
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = ours
        os.dup2(saved, 1)
        os.close(saved)
