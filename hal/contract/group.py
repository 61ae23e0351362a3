"""The devices that a run spreads over, as one process sees them, and what a backend does that can use several."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hal.contract.backend import Backend
from hal.tensor.optimizers import Optimizer
from hal.types import Array, Tree

if TYPE_CHECKING:
    import numpy as np

    from hal.contract.device import Device
    from hal.contract.plan import Plan

__all__ = ["Group", "SpreadsOver", "group_of", "process_count"]


class Group:
    """The devices that a run spreads over, as one process sees them. This class represents a single device.

    Every process holds the same host data and goes through the same steps. Either arrays span all devices of all
    processes, or each process computes on arrays of its own, with its rows of each batch (:meth:`rows`). Methods that
    take part in an exchange are called by all processes, in the same order.

    Attributes:
        rank: the number of this process; process 0 writes files and prints.
        size: the number of processes.
    """

    rank: int = 0
    size: int = 1

    def __init__(self, backend: Backend, device: Device) -> None:
        self.backend = backend
        self.device = device

    def put(self, array: np.ndarray, *, axes: str = "", layout: str = "nhwc") -> Array:
        """Copy a host array to every device; see :meth:`Backend.from_host`."""
        return self.backend.from_host(array, self.device, axes=axes, layout=layout)

    def put_batch(self, array: np.ndarray, *, axes: str = "", layout: str = "nhwc") -> Array:
        """Copy this process's samples of a batch (rows, ...) to the devices, divided among them."""
        return self.put(array, axes=axes, layout=layout)

    def spreads(self, samples: int) -> bool:
        """Whether the rows of that many samples are divided among processes that compute on arrays of their own."""
        return False

    def rows(self, samples: np.ndarray, parts: int = 1) -> np.ndarray:
        """This process's rows of a batch (samples, ...); all rows if the batch is not divided among processes.

        Args:
            samples: the samples of the whole batch, or their indices.
            parts: the number of parts in which the step processes the batch. Each part is divided.
        """
        return samples

    def shard_key(self, key: Any, rows: int, parts: int = 1) -> Any:
        """A random key that draws this process's rows of what a single process would draw for the whole batch.

        Args:
            key: a key of the backend.
            rows: the number of rows that this process holds.
            parts: see :meth:`rows`.
        """
        return key

    def value_and_grad(
        self, fn: Callable[..., tuple[Array, Tree]], plan: Plan | None = None, *, shards: bool = False
    ) -> Callable[..., tuple[tuple[Array, Tree], Tree]]:
        """Like :meth:`Backend.value_and_grad`, for a loss that is a mean over the rows of a batch.

        Loss, floating results and gradients are means over the processes, so they are those of the whole batch.

        Args:
            fn: see :meth:`Backend.value_and_grad`.
            plan: how it is compiled.
            shards: whether ``fn`` takes parameters as :meth:`shard_params` returns them and gathers them by itself;
                otherwise it is given complete ones.
        """
        return self.backend.value_and_grad(fn, plan)

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """An optimizer that works on what :meth:`shard_params` returns."""
        return optimizer

    def sum(self, tree: Tree) -> Tree:
        """Sum floating-point arrays, which have the same shapes in every process, over the processes."""
        return tree

    def gather(self, array: Array) -> Array:
        """Concatenate the rows (rows, ...) of all processes to (rows * size, ...), in every process."""
        return array

    def shard_params(self, tree: Tree) -> Tree:
        """Shard complete parameters or optimizer state as training keeps them. The argument is consumed."""
        return tree

    def gather_params(self, tree: Tree) -> Tree:
        """The reverse of :meth:`shard_params`; arrays that were never sharded stay as they are."""
        return tree

    def peak_memory(self) -> int | None:
        """Peak bytes on the fullest device since :meth:`Backend.reset_peak_memory`; None if they are not counted.

        If the processes share one memory, this is the sum over all of them.
        """
        return self.backend.memory(self.device).peak_bytes

    def broadcast_int(self, number: int) -> int:
        """The number that the process of rank 0 passes. Waits for that process, but not for devices."""
        return number

    def abort(self) -> None:
        """Let running exchanges fail because a process has ended. Called from another thread."""

    def close(self) -> None:
        """Leave the group."""


class SpreadsOver(Backend):
    """A backend whose runtime drives several devices or processes at once.

    Its devices list the kinds of parallelism in ``Capabilities.parallel``, and the largest number of devices in
    ``Capabilities.spread``. There are two ways to implement it: one process for each device (override
    :meth:`processes`, :meth:`join` and :meth:`local_device`), or one process that drives all devices (do not override
    them).
    """

    @abc.abstractmethod
    def group(self, device: Device, plan: Plan) -> Group:
        """The devices that a plan spreads over, including ``device``; a plain Group for a single device.

        Called once for each plan that runs, by :mod:`hal.job.prepare` or, for several processes and after
        :meth:`join`, by :mod:`hal.processes.launch`.

        Raises:
            UnavailableError: there are not enough devices.
            RunError: the other processes cannot be reached.

        Example:
            >>> import hal
            >>> from hal import registry
            >>> device = hal.device("cpu")
            >>> alone = registry.backend("cpu").group(device, hal.Plan(parallel="none"))
            >>> alone.rank, alone.size
            (0, 1)
        """

    def join(self, device: Device, plan: Plan) -> None:
        """Meet the other processes of a run and wait for them; return at once if that was done.

        The environment variables RANK and WORLD_SIZE say who takes part. Where they meet is the folder in
        HAL_RENDEZVOUS, which only this user can open, if hal started them; otherwise it is the address in MASTER_ADDR
        and MASTER_PORT.

        Called in each process of a plan for which :meth:`processes` is above one, before :meth:`group`. It may run in
        a thread of its own, which is left behind if another process dies meanwhile, so what holds for one thread
        alone, such as the current device, belongs in :meth:`group`.

        By default this does nothing, because one process drives all devices.

        Raises:
            RunError: the other processes cannot be reached.
        """

    def processes(self, plan: Plan) -> int:
        """How many processes must take part in a plan.

        Called before processes are started, for each plan that will run.

        By default this is one process, which drives all devices.

        Example:
            >>> import hal
            >>> from hal import registry
            >>> registry.backend("cpu").processes(hal.Plan(parallel="dp=2"))
            2
        """
        return 1

    def local_device(self, device: Device, plan: Plan, local_rank: int) -> Device:
        """The device that a process on this machine drives, of those that the plan spreads over.

        Called in each process before it joins the others, and once before they are started, to see that there are
        enough devices.

        By default this is the first device.

        Args:
            device: the first of the devices.
            plan: the plan that spreads over them.
            local_rank: number of the process on this machine.

        Raises:
            UnavailableError: there are not enough devices.
        """
        return device

    def prepare_devices(self, devices: int) -> None:
        """Make that many devices available, if the runtime can: some can divide the CPU into several devices.

        Called before devices are first asked for, with the number of devices that a plan spreads over.

        By default this does nothing, because most runtimes only find the devices that exist.
        """


def process_count(backend: Backend, plan: Plan) -> int:
    """How many processes must take part in a plan; one on a backend that does not spread."""
    return backend.processes(plan) if isinstance(backend, SpreadsOver) else 1


def group_of(backend: Backend, device: Device, plan: Plan) -> Group:
    """The devices that a plan spreads over; the device alone on a backend that does not spread.

    Raises:
        UnavailableError: there are not enough devices.
        RunError: the other processes cannot be reached.
    """
    return backend.group(device, plan) if isinstance(backend, SpreadsOver) else Group(backend, device)
