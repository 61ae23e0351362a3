"""How a command ends: with its result, or with a message and the exit status of an error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import typer

from hal.cli.terminal import only_json_on_stdout, print_json, write
from hal.errors import HalError, UnsavedError
from hal.util.links import links_explained

__all__ = ["INTERRUPTED", "guard", "shown_though_unsaved"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 plus the signal's number."""


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
        with only_json_on_stdout() if json_output else contextlib.nullcontext(), links_explained():
            status = work()
    except HalError as error:
        if json_output and not isinstance(error, UnsavedError):  # whose result the command has printed
            about = {"type": type(error).__name__, "message": error.message, "fix": error.fix}
            _print_error(about, error.exit_status)
        from hal.cli.styled import show_error

        show_error(error)
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
