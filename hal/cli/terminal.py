"""What all commands share in the terminal: text for people, JSON on stdout, errors and exit statuses."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from hal.errors import HalError, UnsavedError
from hal.util.links import links_explained

__all__ = ["INTERRUPTED", "console", "escaped", "guard", "note", "print_json", "shown_though_unsaved"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 plus the signal's number."""


def console(to_stderr: bool = False) -> Console:
    """Where text for people goes: stdout, or stderr where stdout belongs to JSON."""
    return Console(stderr=to_stderr, highlight=False)


def escaped(value: object) -> str:
    """The text of a value, with brackets that rich does not take for markup."""
    return escape(str(value))


def note(text: str) -> None:
    """Print one dim line to stderr about what is being done."""
    console(to_stderr=True).print(f"[dim]{escape(text)}[/]")


def print_json(value: Any) -> None:
    """Print a value to stdout as JSON."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


@contextlib.contextmanager
def shown_though_unsaved(show: Callable[[Any], None]) -> Iterator[None]:
    """Around what finds a result: show the result also where it cannot be saved, before the error is reported."""
    try:
        yield
    except UnsavedError as error:
        if error.result is not None:
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
            print_json({"error": about, "exit_status": error.exit_status})
        _show_error(error)
        status = error.exit_status
    except KeyboardInterrupt:
        sys.stderr.write(f"{interrupted}\n")
        status = INTERRUPTED
    except Exception as error:
        if json_output:  # whoever reads the JSON gets some; the author of a model gets the traceback too
            about = {"type": type(error).__name__, "message": str(error), "fix": None}
            print_json({"error": about, "exit_status": 1})
        raise
    raise typer.Exit(status)


def _show_error(error: HalError) -> None:
    """One message on stderr: what is wrong, then what to do."""
    err = console(to_stderr=True)
    err.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.fix is not None:
        err.print(f"[green]→[/] {escape(error.fix)}", soft_wrap=True)


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
    sys.stdout = os.fdopen(os.dup(saved), "w", encoding="utf-8")
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = ours
        os.dup2(saved, 1)
        os.close(saved)
