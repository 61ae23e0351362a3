"""The protocol between the tuner and a worker: one JSON object per line, over two pipes that nothing else uses.

The tuner sends requests ``{"v": 1, "id": 7, "do": "trial", ...}``. The worker answers each with one object of the same
id: ``{"v": 1, "id": 7, "result": {...}}`` or ``{"v": 1, "id": 7, "error": {"outcome": "oom", "message": "..."}}``.
Before that it may report its phase, ``{"v": 1, "id": 7, "phase": "compile"}``, so that the tuner knows
where a worker died or hangs. Everything else is a :class:`ProtocolError`. Standard output and error of a worker carry
no messages, because libraries and models print there.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["VERSION", "Channel", "ClosedError", "LateError", "ProtocolError"]

VERSION = 1

_LONGEST_LINE = 64 << 20
_LONGEST_WAIT_S = 3600.0
"""The system refuses to wait for very long spans at once."""


class ProtocolError(Exception):
    """The other side sent an invalid message."""


class ClosedError(Exception):
    """The other side has closed its end: it has ended."""


class LateError(Exception):
    """Nothing came in time."""


class Channel:
    """One end of the two pipes.

    Args:
        read_fd: where the other side's messages come from.
        write_fd: where to write.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._buffer = b""

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message, whole.

        Raises:
            ClosedError: the other side has ended.
        """
        data = json.dumps({"v": VERSION, **message}, separators=(",", ":")).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except (BrokenPipeError, OSError) as error:
            raise ClosedError(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next message; waits for it without using the processor.

        Raises:
            LateError: none came in time.
            ClosedError: the other side has ended.
            ProtocolError: what came is no message of this version.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise LateError
            ready, _, _ = select.select([self._read_fd], [], [], left if left is None else min(left, _LONGEST_WAIT_S))
            if not ready:
                continue
            chunk = os.read(self._read_fd, 1 << 16)
            if not chunk:
                raise ClosedError("the pipe is closed")
            self._buffer += chunk
            if len(self._buffer) > _LONGEST_LINE:
                raise ProtocolError("a line is longer than 64 MiB")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return _parsed(line)

    def close(self) -> None:
        """Close both pipes."""
        for fd in {self._read_fd, self._write_fd}:
            os.close(fd)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a line is not JSON: {line[:80]!r}") from error
    if not isinstance(message, dict) or not isinstance(message.get("id"), int):
        raise ProtocolError(f"a line has no integer id: {line[:80]!r}")
    if message.get("v") != VERSION:
        raise ProtocolError(
            f"a message has version {message.get('v')!r} of the protocol, but this version of hal uses {VERSION}"
        )
    return message
