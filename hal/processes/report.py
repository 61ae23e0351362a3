"""What a worker reports to rank 0 while it runs: JSON lines in a pipe that rank 0 reads.

The pipe stands in a module of its own because the worker's module runs as ``__main__``: what the other modules of the
process import is this one.
"""

from __future__ import annotations

import json
import os
from typing import Any

__all__ = ["open_report", "report_error", "report_ready"]

_MOST_CHARACTERS = 4000
"""How much of an error's message fits into a pipe that nobody reads yet."""


class _Pipe:
    """The pipe to rank 0; without a descriptor, as in a process that a launcher started, reports go nowhere."""

    fd: int | None = None

    def write(self, report: dict[str, Any]) -> None:
        if self.fd is not None:
            os.write(self.fd, (json.dumps(report) + "\n").encode())


_pipe = _Pipe()


def open_report(fd: int) -> None:
    """Report to a descriptor from now on; processes that this one starts do not inherit it."""
    os.set_inheritable(fd, False)
    _pipe.fd = fd


def report_ready() -> None:
    """Tell rank 0, if it listens, that this process is about to join the others."""
    _pipe.write({"ready": True})


def report_error(kind: str, message: str, fix: str | None) -> None:
    """Tell rank 0, if it listens, why this process ends.

    Args:
        kind: name of the error's class.
        message: what went wrong.
        fix: what to do next; None: nobody knows.
    """
    _pipe.write({"error": {"type": kind, "message": message[:_MOST_CHARACTERS], "fix": fix}})
