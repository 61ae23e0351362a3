"""Workers for trials: one at a time, reused until one fails; several at once for the finalists."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hal.errors import RunError
from hal.tuner.messages import Answer, Description, Order
from hal.tuner.process import Failure, NotStartedError, WorkerProcess
from hal.tuner.trial_result import Outcome

__all__ = ["Pool"]

_START_S = 120.0
"""Longest that a worker may take to import its framework and to load the data."""

_KEEPS = (Outcome.OK, Outcome.DIVERGED, Outcome.UNSUPPORTED)
"""Outcomes after which a process is as good as before."""


class Pool:
    """Runs trials, one after the other.

    Args:
        command: command line that starts a worker.
        config: keys of the workload and the device.
        mode: train or infer.
        folder: folder for the log of the workers.
        memory_limit: bytes of address space for each; 0: no limit.
    """

    def __init__(
        self, command: Sequence[str], config: Mapping[str, Any], mode: str, folder: Path, memory_limit: int = 0
    ) -> None:
        self._command, self._config, self._mode = command, config, mode
        self._log, self._memory_limit = folder / "workers.log", memory_limit
        self._worker: WorkerProcess | None = None

    def describe(self) -> Description:
        """Ask a worker for the device and the workload.

        Raises:
            Failure: no worker could be started.
        """
        worker, described = self.fresh()
        self._worker = worker
        return described

    def run(self, order: Order, limit_s: float) -> Answer:
        """Run a trial. If the worker fails, the way it failed is the outcome.

        Raises:
            RunError: no worker can be started.
        """
        begun = time.perf_counter()
        start_s: float | None = None
        try:
            if self._worker is None or not self._worker.alive:
                self._worker, _ = self.fresh()
                start_s = time.perf_counter() - begun
            try:
                told = self._worker.ask("trial", limit_s, order=order.model_dump(mode="json"))
                answer = Answer.model_validate(told)
            except ValidationError:
                said = "the worker sent an answer with unknown or missing fields"
                answer = Answer(outcome=Outcome.PROTOCOL, message=said)
        except NotStartedError as failure:
            raise RunError(
                failure.message, fix=f"correct this, then continue with: hal tune resume={self._log.parent}"
            ) from failure
        except Failure as failure:
            answer = Answer(outcome=failure.outcome, message=failure.message)
        if answer.outcome not in _KEEPS:
            self.close()
        wall_s = time.perf_counter() - begun
        if start_s is not None:  # loading is counted by itself
            start_s = max(0.0, start_s - (answer.phases.load_s or 0.0))
        return answer.model_copy(
            update={"phases": answer.phases.model_copy(update={"wall_s": wall_s, "start_s": start_s})}
        )

    def native_code(self, plan: Mapping[str, Any]) -> str:
        """Source lines for the native framework that apply a plan; empty if the workers fail."""
        try:
            if self._worker is None or not self._worker.alive:
                self._worker, _ = self.fresh()
            return str(self._worker.ask("native_code", _START_S, plan=dict(plan)))
        except Failure:
            self.close()
            return ""

    def fresh(self) -> tuple[WorkerProcess, Description]:
        """Another worker, with the workload loaded; whoever asks for it ends it.

        Raises:
            Failure: the worker failed to start or to load the workload.
        """
        worker = self.launched()
        return worker, self.opened(worker)

    def launched(self) -> WorkerProcess:
        """Another worker that has just been started. It ends with the thread that starts it, at the latest."""
        return WorkerProcess(self._command, self._log, self._memory_limit)

    def opened(self, worker: WorkerProcess) -> Description:
        """Load the workload in a worker; it is ended if that fails.

        Raises:
            Failure: the worker failed to start or to load the workload.
        """
        try:
            told = worker.ask("open", _START_S, config=dict(self._config), mode=self._mode)
            return Description.model_validate(told)
        except ValidationError:
            worker.kill()
            said = "the worker's description has unknown or missing fields; its hal may be of another version"
            raise Failure(Outcome.PROTOCOL, said, {}) from None
        except BaseException:
            worker.kill()
            raise

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
