"""A process that follows rank 0 of a run: ``python -m hal.processes.worker REPORT_FD``.

Its standard input gives one line of JSON, ``{"call": "module:function", "arguments": {...}}``, and then stays open;
when it closes, rank 0 is gone, and so is this process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any

from hal.errors import HalError
from hal.util.parent import die_with_parent

__all__ = ["main", "report_ready"]

_report_fd: int | None = None

_MOST_SAID = 4000
"""Characters of an error that fit into a pipe which nobody reads yet."""


def report_ready() -> None:
    """Tell rank 0, if it waits for that, that this process is about to join."""
    _say({"ready": True})


def main(arguments: Sequence[str]) -> int:
    """Do what rank 0 asks for.

    Args:
        arguments: the descriptor to report to.
    """
    fd = int(arguments[0])
    # Under -m this module is __main__; others find the descriptor in the one they import.
    importlib.import_module("hal.processes.worker")._report_fd = fd  # type: ignore[attr-defined]
    globals()["_report_fd"] = fd
    os.set_inheritable(fd, False)
    die_with_parent()
    task = json.loads(sys.stdin.buffer.readline() or b"null")
    if task is None:
        return 1
    threading.Thread(target=_leave_at_end_of_input, name="hal-leader", daemon=True).start()
    module, _, name = task["call"].partition(":")
    try:
        getattr(importlib.import_module(module), name)(**task["arguments"])
    except BaseException as error:  # noqa: BLE001 - rank 0 is told, whatever it was
        traceback.print_exc()
        fix = error.fix if isinstance(error, HalError) else None
        said = error.message if isinstance(error, HalError) else f"{type(error).__name__}: {error}"
        _say({"error": {"type": type(error).__name__, "message": said[:_MOST_SAID], "fix": fix}})
        return 1
    return 0


def _leave_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _say(report: dict[str, Any]) -> None:
    if _report_fd is not None:
        os.write(_report_fd, (json.dumps(report) + "\n").encode())


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of libraries may wait for processes that are gone
