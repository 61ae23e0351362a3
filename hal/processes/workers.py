"""The workers of a run on this machine: started, told what to do, watched, and ended together with this process.

This process is rank 0. The workers run the same code with the same keys (:mod:`hal.processes.worker`).
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
from dataclasses import replace
from typing import IO, Any

from hal.errors import DeviceLostError, HalError, OutOfMemoryError, RunError, error_from_name
from hal.processes.rendezvous import Rendezvous

__all__ = ["WorkerGroup"]

_START_S = 240.0
_EXPLAIN_S = 5.0
_LEAVE_S = 20.0
_POLL_S = 0.2
_TAIL_BYTES = 2000
_MORE = (
    "allow more processes and open files (see ulimit -u and ulimit -n), end other programs, or use fewer processes: "
    "parallel=none uses one"
)


class _Worker:
    def __init__(self, world: Rendezvous, task: Mapping[str, Any]) -> None:
        self.rank = world.rank
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self.reports, theirs = os.pipe()
        except BaseException:
            self.log.close()
            raise
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hal.processes.worker", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                env={**os.environ, **world.variables()},
                process_group=0,  # Ctrl-C reaches this process alone, which tells the workers
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
        """Read what the worker reports; false at the end of the pipe."""
        more = os.read(self.reports, 65536)
        self._said += more
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            report = json.loads(line)
            self.ready = self.ready or "ready" in report
            self.error = report.get("error", self.error)
        return bool(more)

    def failure(self) -> HalError:
        """Why the worker ended."""
        if self.error is not None:
            said = f"rank {self.rank} failed: {self.error['message']}"
            return error_from_name(self.error.get("type"), said, self.error.get("fix"))
        status = self.process.wait()
        if status == -signal.SIGKILL:
            return OutOfMemoryError(
                f"rank {self.rank} was killed by another process, as the kernel does when memory runs out",
                fix="use a smaller batch= or fewer processes; continue from the last checkpoint with resume=",
            )
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return RunError(f"rank {self.rank} {how}{self._tail()}")

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
    """The workers of this process, of ranks 1 and up. Only one thread may use it.

    Args:
        world: where this process, of rank 0, meets the others.
        task: what the workers do, as :mod:`hal.processes.worker` reads it.

    Raises:
        RunError: a worker cannot be started; those that were started before it have ended.
    """

    def __init__(self, world: Rendezvous, task: Mapping[str, Any]) -> None:
        self._workers: list[_Worker] = []
        self._over = threading.Event()
        try:
            for rank in range(1, world.size):
                self._workers.append(_Worker(replace(world, rank=rank, local_rank=rank), task))
        except OSError as error:
            started = len(self._workers) + 1
            self.end()
            raise RunError(
                f"only {started} of the {world.size} processes of this run could be started: {error.strerror or error}",
                fix=_MORE,
            ) from error
        except BaseException:
            self.end()
            raise

    def wait_ready(self) -> None:
        """Wait until every worker is about to join.

        Raises:
            RunError: a worker ended, or took too long.
        """
        until = time.monotonic() + _START_S
        for each in self._workers:
            while not each.ready:
                found, _, _ = select.select([each.reports], [], [], max(0.0, until - time.monotonic()))
                if not found:
                    raise RunError(
                        f"rank {each.rank} did not start within {_START_S:.0f} s",
                        fix="use fewer processes, or check what else keeps the machine busy",
                    )
                if not each.listen():
                    raise each.failure()

    def watch(self, abort: Callable[[], None]) -> None:
        """Call a function, in a thread, as soon as a worker fails, since exchanges with that worker would not end.

        Raises:
            RunError: the thread cannot be started.
        """

        def wait() -> None:
            while not self._over.wait(_POLL_S):
                if any(each.process.poll() not in (None, 0) for each in self._workers):
                    abort()
                    return

        try:
            threading.Thread(target=wait, name="hal-workers", daemon=True).start()
        except RuntimeError as error:
            raise RunError(f"the workers of this run cannot be watched: {error}", fix=_MORE) from error

    def explain(self, error: BaseException) -> HalError | None:
        """Why a worker ended, where that is why an exchange with it failed; None: no worker explains the error.

        Args:
            error: what was raised in this process; an error of hal explains itself.
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
                    if not isinstance(error, DeviceLostError):  # that error only says that a process is gone
                        alike.add(type(error.__cause__).__name__)
                    if each.error is not None and each.error["type"] in alike:
                        return None  # it failed as this process did, whose own error says why
                    return each.failure()
            if time.monotonic() > until:
                return None
            time.sleep(0.05)
        return None

    def leave(self) -> None:
        """Give the workers some time to end by themselves after their work is done."""
        until = time.monotonic() + _LEAVE_S
        for each in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.process.wait(max(0.0, until - time.monotonic()))

    def end(self) -> None:
        """Kill the workers that are still running."""
        self._over.set()
        for each in self._workers:
            each.end()
        self._workers.clear()
