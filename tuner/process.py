"""A worker process as the tuner sees it: how it is started, asked, killed when late, and how its end is explained."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hal.tuner.protocol import Channel, ClosedError, LateError, ProtocolError
from hal.tuner.trial_result import Outcome

__all__ = ["Failure", "NotStartedError", "WorkerProcess", "command_of"]

_TAIL_BYTES = 2000
_GRACE_S = 2.0


def command_of(python: str | None = None) -> tuple[str, ...]:
    """The command of a worker in this interpreter or in another."""
    return (python or sys.executable, "-m", "hal.tuner.worker")


class Failure(Exception):
    """A request that got no result.

    Attributes:
        outcome: why.
        message: for people.
        details: of an error that hal raised in the worker: type, said, fix.
    """

    def __init__(self, outcome: Outcome, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.outcome, self.message, self.details = outcome, message, details


class NotStartedError(Failure):
    """There is no worker, which is no fault of the plan that it was meant for."""


class WorkerProcess:
    """One worker. Not to be used by two threads at once.

    Args:
        command: what to start; the descriptors and the memory limit are appended.
        log: file that takes what the worker prints.
        memory_limit: bytes of address space; 0: no limit.

    Raises:
        NotStartedError: the process cannot be started.
    """

    def __init__(self, command: Sequence[str], log: Path, memory_limit: int = 0) -> None:
        self._log = log
        to_read, to_write, from_read, from_write = _pipes(command[0])
        try:
            with log.open("ab") as out:
                self._offset = out.tell()
                self._process = subprocess.Popen(
                    [*command, str(to_read), str(from_write), str(memory_limit)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    pass_fds=(to_read, from_write),
                    start_new_session=True,
                )
        except OSError as error:
            for fd in (to_write, from_read):
                os.close(fd)
            raise _not_started(command[0], error) from error
        finally:
            for fd in (to_read, from_write):
                os.close(fd)
        self._channel = Channel(from_read, to_write)
        self._last_id = 0
        self._phase = "start"
        self._closed = False

    def ask(self, do: str, timeout_s: float, **more: Any) -> Any:
        """Send a request and wait for its result.

        Raises:
            Failure: there is none. Unless the worker itself reported an error, it is gone.
        """
        self._last_id += 1
        self._phase = do
        end = time.monotonic() + timeout_s
        try:
            self._channel.send({"id": self._last_id, "do": do, **more})
            while True:
                message = self._channel.receive(max(0.0, end - time.monotonic()))
                if message["id"] != self._last_id:
                    raise ProtocolError(
                        f"the message answers request {message['id']}, but request {self._last_id} was sent"
                    )
                if "phase" in message:
                    self._phase = str(message["phase"])
                elif "result" in message:
                    return message["result"]
                elif isinstance(message.get("error"), dict):
                    raise self._reported(message["error"])
                else:
                    raise ProtocolError("the message has neither a result nor an error")
        except LateError:
            self.kill()
            said = f"the trial was killed because it had not finished after {timeout_s:.0f} s; "
            said += f"it was in phase {self._phase}"
            raise Failure(Outcome.TIMEOUT, said, {}) from None
        except ProtocolError as error:
            self.kill()
            said = f"the worker sent an invalid message in phase {self._phase}: {error}"
            raise Failure(Outcome.PROTOCOL, said, {}) from None
        except ClosedError:
            raise self._ended() from None

    def _reported(self, error: Mapping[str, Any]) -> Failure:
        try:
            outcome = Outcome(str(error.get("outcome")))
        except ValueError:
            raise ProtocolError(f"the message has an unknown outcome: {error.get('outcome')!r}") from None
        return Failure(outcome, str(error.get("message", "")), error)

    def _ended(self) -> Failure:
        """Why the worker has ended."""
        try:
            status = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            said = f"the worker closed its pipe in phase {self._phase} but did not exit"
            return Failure(Outcome.PROTOCOL, said, {})
        self.kill()
        where = f"in phase {self._phase}"
        if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
            said = (
                f"the worker was killed from outside {where}, as the kernel does when memory runs out (status {status})"
            )
            return Failure(Outcome.OOM, said, {})
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
            return Failure(Outcome.CRASH, f"the worker was ended by {name} {where}{self._said()}", {})
        return Failure(Outcome.CRASH, f"the worker exited with status {status} {where}{self._said()}", {})

    def _said(self) -> str:
        """The last line that the worker printed."""
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._offset, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
            if lines:
                return f": {lines[-1].strip()[:300]}"
        return ""

    def kill(self) -> None:
        """End the worker and what it has started."""
        if self._closed:
            return
        self._closed = True
        # The leader may be gone already, and processes that it started be left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._channel.close()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._closed and self._process.poll() is None


def _pipes(name: str) -> tuple[int, int, int, int]:
    """The ends of two pipes: to read and to write, twice."""
    opened: tuple[int, ...] = ()
    try:
        opened = os.pipe()
        return (*opened, *os.pipe())
    except OSError as error:
        for fd in opened:
            os.close(fd)
        raise _not_started(name, error) from error


def _not_started(name: str, error: OSError) -> NotStartedError:
    said = f"cannot start {name}: {error.strerror}"
    if error.errno == errno.EAGAIN:
        said += "; this user runs as many processes and threads as are allowed (ulimit -u)"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        said += "; as many files are open as are allowed (ulimit -n)"
    elif error.filename not in (None, name):
        said = f"cannot start a worker: cannot write {error.filename}: {error.strerror}"
    return NotStartedError(Outcome.CRASH, said, {})
