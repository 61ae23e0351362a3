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

import psutil

from hal.errors import DeviceLostError, HalError, OutOfMemoryError, RunError, error_from_name
from hal.processes.rendezvous import Rendezvous

__all__ = ["WorkerGroup"]

_START_S = 240.0
_EXPLAIN_S = 5.0
_LEAVE_S = 20.0
_POLL_S = 0.2
_MOST_STOPPED = 50
"""A worker that is found stopped so often in a row is given up; counted, since this process may be stopped as well."""

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
        self._status = psutil.Process(self.process.pid)
        self._stopped = 0
        self.ready = self.suspended = False
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

    def drain(self) -> None:
        """Read what it has reported; does not wait, since a process that it forked may hold the pipe open."""
        while select.select([self.reports], [], [], 0)[0] and self.listen():
            pass

    def lost(self) -> bool:
        """Whether it has ended, or is stopped for so long that nobody can wait for it; it is killed then.

        To be called every now and then, at intervals of :data:`_POLL_S`.
        """
        if self.process.poll() is not None:
            return True
        with contextlib.suppress(psutil.Error):
            self._stopped = self._stopped + 1 if self._status.status() == psutil.STATUS_STOPPED else 0
        if self._stopped >= _MOST_STOPPED:
            self.suspended = True
            self.process.kill()
        return self.suspended

    def failure(self) -> HalError:
        """Why the worker ended."""
        if self.suspended:
            return RunError(
                f"rank {self.rank} was stopped, as SIGSTOP does, and nothing continued it for "
                f"{_MOST_STOPPED * _POLL_S:.0f} s, so it was ended",
                fix="continue from the last checkpoint with resume=",
            )
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
            HalError: what a worker reported.
        """
        until = time.monotonic() + _START_S
        while waiting := {each.reports: each for each in self._workers if not each.ready}:
            for found in select.select(list(waiting), [], [], _POLL_S)[0]:
                if not waiting[found].listen():
                    raise waiting[found].failure()
            self.check()
            if time.monotonic() > until:
                raise RunError(
                    f"rank {next(iter(waiting.values())).rank} did not start within {_START_S:.0f} s",
                    fix="use fewer processes, or check what else keeps the machine busy",
                )

    def check(self) -> None:
        """Called now and then until every worker has joined.

        Raises:
            HalError: why a worker ended.
        """
        for each in self._workers:
            if each.lost():
                each.drain()
                raise each.failure()

    def watch(self, abort: Callable[[], None]) -> None:
        """Call a function, in a thread, as soon as a worker fails, since exchanges with that worker would not end.

        Raises:
            RunError: the thread cannot be started.
        """

        def wait() -> None:
            while not self._over.wait(_POLL_S):
                if any(each.lost() and each.process.poll() != 0 for each in self._workers):
                    abort()
                    return

        _start(wait, "hal-workers")

    def joined(self, join: Callable[[], None]) -> None:
        """Join the workers, who are ready; give up as soon as one of them fails, since the others would wait for it.

        Args:
            join: returns when all have met. It cannot be interrupted, so it runs in a thread, which is left behind
                where a worker fails; it ends with its own time limit.

        Raises:
            HalError: why a worker ended, or why this process cannot join.
        """
        outcome: list[BaseException | None] = []

        def work() -> None:
            try:
                join()
                outcome.append(None)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                outcome.append(error)

        thread = _start(work, "hal-join")
        while thread.is_alive():
            thread.join(_POLL_S)
            try:
                self.check()
            except HalError:
                thread.join(_POLL_S)  # what has met may still be left in the usual way
                if thread.is_alive():
                    raise
        if outcome[0] is not None:
            until = time.monotonic() + _EXPLAIN_S
            while time.monotonic() < until:  # a worker that ended may be why; it takes a moment to be gone
                self.check()
                time.sleep(_POLL_S)
            raise outcome[0]

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
                    each.drain()
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


def _start(work: Callable[[], None], name: str) -> threading.Thread:
    try:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
    except RuntimeError as error:
        raise RunError(f"the workers of this run cannot be watched: {error}", fix=_MORE) from error
    return thread
