"""A process of a run beside that of rank 0: ``python -m hal.processes.worker REPORT_FD``.

Its standard input gives one line of JSON, ``{"call": "module:function", "arguments": {...}}``, and then stays open;
when it closes, rank 0 is gone, and this process ends too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Sequence

from hal.errors import HalError
from hal.processes.report import open_report, report_error
from hal.util.parent import die_with_parent

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Call the function that rank 0 names.

    Args:
        arguments: the file descriptor of the pipe to report to.

    Returns:
        The exit status: 0 if the function returned, 1 if it raised.
    """
    open_report(int(arguments[0]))
    die_with_parent()
    task = json.loads(sys.stdin.buffer.readline() or b"null")
    if task is None:
        return 1
    module, _, name = task["call"].partition(":")
    try:
        threading.Thread(target=_exit_at_end_of_input, name="hal-rank-0", daemon=True).start()
        getattr(importlib.import_module(module), name)(**task["arguments"])
    except HalError as error:
        traceback.print_exc()
        report_error(type(error).__name__, error.message, error.fix)
        return 1
    except BaseException as error:  # noqa: BLE001 - rank 0 is told, whatever it was
        traceback.print_exc()
        report_error(type(error).__name__, f"{type(error).__name__}: {error}", None)
        return 1
    return 0


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of libraries may wait for processes that are gone
