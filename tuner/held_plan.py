"""A plan that is built and warmed up, and runs one block of steps whenever the tuner asks.

The final measurements take blocks of several plans in turn. Each plan is held by a worker of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial

from hal.job.prepare import Job
from hal.measure import BlockTimer, Settings, warm_up
from hal.processes.launch import StepBroadcaster, finish_steps

__all__ = ["HeldPlan"]


class HeldPlan:
    """A plan with everything that it keeps open until it is released.

    Args:
        job: the workload under the plan, with its processes started and its settings applied.
        step: one step of this process.
        resources: closes all of that; taken over once the plan is warm.
        seconds: longest warm-up.
        wait_each: wait for the device after every step, as latency is measured.

    Attributes:
        job: the workload under the plan.
        resources: closes the processes and the settings.
        steps_per_block: steps that a block needs for its time to be measured well.
    """

    def __init__(
        self,
        job: Job,
        step: Callable[[], object],
        resources: contextlib.ExitStack,
        *,
        seconds: float,
        wait_each: bool,
    ) -> None:
        self.job = job
        self._broadcaster = StepBroadcaster(job.group, step, ahead=1) if job.group.size > 1 else None
        self._step = self._broadcaster or step
        self._timer = BlockTimer(
            self._step, partial(job.backend.synchronize, job.device), time.perf_counter, each=wait_each
        )
        settings = Settings(warmup_max_seconds=seconds, max_seconds=max(1.0, seconds))
        self._timer.block(1)
        self.steps_per_block = warm_up(self._timer, settings).steps_per_block(settings)
        self.resources = resources.pop_all()

    def block(self, steps: int) -> float:
        """Seconds that a block of steps takes. If it has several, a step that is not timed precedes them."""
        untimed = int(steps > 1)
        if self._broadcaster is not None:
            # No step beyond these may be announced: it would run beside the block of another plan.
            self._broadcaster.announce(untimed + steps)
        return self._timer.block(steps, untimed=untimed)

    def finish(self) -> None:
        """Tell the other processes of the plan that no more blocks follow."""
        finish_steps(self.job.group, (self._step,))
