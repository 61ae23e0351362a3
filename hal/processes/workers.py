"""The other processes of a run on this machine: started anew, told what to do, watched, and ended with this one.

This process is rank 0. The others follow it: they run the same code on the same keys (:mod:`hal.processes.worker`).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from hal.errors import DeviceLostError, HalError, OutOfMemoryError, RunError, error_from_name
from hal.processes.rendezvous import Rendezvous

__all__ = ["WorkerGroup"]

_START_S = 240.0
_EXPLAIN_S = 5.0
_LEAVE_S = 20.0
_POLL_S = 0.2
_TAIL_BYTES = 2000


class _Worker:
    def __init__(self, world: Rendezvous, task: Mapping[str, Any]) -> None:
        self.rank = world.rank
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.reports, theirs = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hal.processes.worker", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                env={**os.environ, **world.variables()},
                process_group=0,  # Ctrl-C is for this process, which tells the others
            )
        except BaseException:
            os.close(self.reports)
            self.log.close()
            raise
        finally:
            os.close(theirs)
        self._said = b""
        self.ready = False
        self.error: dict[str, Any] | None = None
        stdin: Any = self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            stdin.write((json.dumps(task) + "\n").encode())
            stdin.flush()  # it stays open: its end tells the worker that this process is gone

    def listen(self) -> bool:
        """Read what it reports; false at the end of the pipe."""
        more = os.read(self.reports, 65536)
        self._said += more
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            report = json.loads(line)
            self.ready = self.ready or "ready" in report
            self.error = report.get("error", self.error)
        return bool(more)

    def story(self) -> HalError:
        """Why it ended."""
        if self.error is not None:
            said = f"rank {self.rank} failed: {self.error['message']}"
            return error_from_name(self.error.get("type"), said, self.error.get("fix"))
        status = self.process.wait()
        if status == -signal.SIGKILL:
            return OutOfMemoryError(
                f"rank {self.rank} was killed from outside, as the kernel does when memory runs out",
                fix="use a smaller batch= or fewer processes; go on from the last checkpoint with resume=",
            )
        how = f"of {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return RunError(f"rank {self.rank} died {how}{self._tail()}")

    def _tail(self) -> str:
        size = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, size - _TAIL_BYTES))
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1].strip()[:300]}" if lines else ""

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        stdin: Any = self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        os.close(self.reports)
        self.log.close()


class WorkerGroup:
    """Workers of this process, ranks 1 and up. Used by one thread.

    Args:
        size: how many processes there are with this one.
        port: where they meet.
        task: what they do, as :mod:`hal.processes.worker` reads it.
    """

    def __init__(self, size: int, port: int, task: Mapping[str, Any]) -> None:
        self._workers: list[_Worker] = []
        self._over = threading.Event()
        try:
            for rank in range(1, size):
                self._workers.append(_Worker(Rendezvous(rank, size, rank, size, "127.0.0.1", port), task))
        except BaseException:
            self.end()
            raise

    def wait_ready(self) -> None:
        """Wait until each is about to join.

        Raises:
            RunError: one of them ended, or took too long.
        """
        until = time.monotonic() + _START_S
        for each in self._workers:
            while not each.ready:
                found, _, _ = select.select([each.reports], [], [], max(0.0, until - time.monotonic()))
                if not found:
                    raise RunError(f"rank {each.rank} was not ready after {_START_S:.0f} s")
                if not each.listen():
                    raise each.story()

    def watch(self, abort: Callable[[], None]) -> None:
        """From now on call a function, in a thread, when a worker fails: exchanges with it would not end."""

        def wait() -> None:
            while not self._over.wait(_POLL_S):
                if any(each.process.poll() not in (None, 0) for each in self._workers):
                    abort()
                    return

        threading.Thread(target=wait, name="hal-crew", daemon=True).start()

    def explain(self, error: BaseException) -> HalError | None:
        """What became of a worker, where that is why an exchange with it failed; None: each of them goes on.

        Args:
            error: what was raised here; an error of hal's explains itself.
        """
        explained = isinstance(error, HalError) and not isinstance(error, DeviceLostError)
        if explained or isinstance(error, (KeyboardInterrupt, SystemExit)):
            return None
        until = time.monotonic() + _EXPLAIN_S
        while any(each.process.poll() != 0 for each in self._workers):
            for each in self._workers:
                if each.process.poll() not in (None, 0):
                    while each.listen():
                        pass
                    alike = {type(error).__name__}
                    if not isinstance(error, DeviceLostError):  # which only says that a process is gone
                        alike.add(type(error.__cause__).__name__)
                    if each.error is not None and each.error["type"] in alike:
                        return None  # it failed as this process did, which explains itself
                    return each.story()
            if time.monotonic() > until:
                return None
            time.sleep(0.05)
        return None

    def leave(self) -> None:
        """Let them end by themselves, for a while, after the work is done."""
        until = time.monotonic() + _LEAVE_S
        for each in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.process.wait(max(0.0, until - time.monotonic()))

    def end(self) -> None:
        """End those that are left, at once."""
        self._over.set()
        for each in self._workers:
            each.end()
        self._workers.clear()
