"""Processes that train together, each with its rows of every batch: PyTorch's DDP, and FSDP for sharded parameters.

What one process would compute from a whole batch, they compute together: gradients, losses and state are averaged,
batch statistics are those of all rows (:mod:`hal.backends._torch.shared_ops`), and random numbers are drawn for the
whole batch, of which each process takes its rows. That costs each process the drawing of all of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optree
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from hal.backends._torch.meeting import leave, settle
from hal.contract import Group
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.tensor.optimizers import Optimizer
from hal.tensor.random import Key, Share
from hal.types import Array, Tree

if TYPE_CHECKING:
    from hal.backends._torch.backend import TorchBackend

__all__ = ["DataParallel", "FullySharded", "group_of", "local_of"]

Tensor = torch.Tensor
_wrapped: weakref.WeakSet[DistributedDataParallel] = weakref.WeakSet()
"""What averages gradients in this process's group."""


def group_of(backend: TorchBackend, device: Device, plan: Plan) -> Group:
    """The group of processes that have met."""
    settle(torch.device(backend.device_type, device.index))
    sharded = next(iter(plan.spread()), "dp") == "fsdp"
    return (FullySharded if sharded else DataParallel)(backend, device)


class DataParallel(Group):
    """Parameters whole in every process; DistributedDataParallel averages gradients while the rest is computed."""

    backend: TorchBackend

    def __init__(self, backend: TorchBackend, device: Device) -> None:
        super().__init__(backend, device)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def spreads(self, samples: int) -> bool:
        """Whether they divide evenly; others are whole in every process, as an evaluation's last batch may be."""
        return samples > 0 and samples % self.size == 0

    def rows(self, samples: np.ndarray, parts: int = 1) -> np.ndarray:
        """This process's rows of every part."""
        if not self.spreads(len(samples)):
            return samples
        mine: np.ndarray = Share(self.rank, self.size, len(samples) // self.size, parts).of(samples)
        return mine

    def shard_key(self, key: Key, rows: int, parts: int = 1) -> Key:
        """The key with this process's share."""
        return Key(key.seed, Share(self.rank, self.size, rows, parts))

    def value_and_grad(
        self, fn: Callable[..., tuple[Array, Tree]], plan: Plan | None = None, *, shards: bool = False
    ) -> Callable[..., tuple[tuple[Array, Tree], Tree]]:
        """Differentiate in each process, and average over all.

        The first call runs the function twice: parameters that take no part are found, which DDP must know of.
        """
        plan = Plan() if plan is None else plan
        function = self.backend.compile(fn, plan)
        wrapped: list[Any] = []

        def differentiate(params: Tree, *args: Any) -> tuple[tuple[Array, Tree], Tree]:
            leaves, structure = optree.tree_flatten(params)
            if not wrapped:
                used = _used(function, leaves, structure, args)
                if not any(used):
                    found = self.backend.constant(function(self.gather_params(params), *args))
                    return self._mean(found, args), structure.unflatten([torch.zeros_like(x) for x in leaves])
                wrapped.append(self._wrap(_Loss(function, structure, leaves, used), plan))
            module = wrapped[0]
            inner = module.module if isinstance(module, DistributedDataParallel) else module
            inner.take(leaves)
            with torch.enable_grad():
                loss, aux = module(*args)
                loss.backward()
            grads = structure.unflatten(inner.gradients(leaves))
            return self._mean((loss.detach(), self.backend.constant(aux)), args), grads

        return differentiate

    def _wrap(self, module: _Loss, plan: Plan) -> Any:
        # Gradients may live in DDP's buckets only if they are used up before the next backward pass.
        wrapped = DistributedDataParallel(module, gradient_as_bucket_view=plan.accumulate == 1)
        _wrapped.add(wrapped)
        return wrapped

    def _mean(self, tree: Any, given: Any) -> Any:
        """Floating arrays averaged over the processes, in one exchange; what was merely passed through is alike."""
        passed = {id(leaf) for leaf in optree.tree_leaves(given)}
        leaves, structure = optree.tree_flatten(tree)
        own = [i for i, x in enumerate(leaves) if x.is_floating_point() and id(x) not in passed]
        for i, mean in zip(own, self._reduced([leaves[i] for i in own], 1 / self.size), strict=True):
            leaves[i] = mean
        return structure.unflatten(leaves)

    def sum(self, tree: Tree) -> Tree:
        """Summed, in one exchange."""
        leaves, structure = optree.tree_flatten(tree)
        return structure.unflatten(self._reduced(leaves, 1.0))

    def _reduced(self, leaves: list[Tensor], factor: float) -> list[Tensor]:
        if not leaves:
            return []
        flat = torch.cat([x.detach().reshape(-1).to(torch.float32) for x in leaves])
        dist.all_reduce(flat)
        parts = torch.split(flat * factor, [x.numel() for x in leaves])
        return [part.reshape(x.shape).to(x.dtype) for part, x in zip(parts, leaves, strict=True)]

    def gather(self, array: Array) -> Array:
        """All rows; a NumPy array travels by the host."""
        if isinstance(array, np.ndarray):
            return self.gather(torch.from_numpy(np.ascontiguousarray(array))).numpy()
        mine = array.detach().contiguous()
        every = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(every, mine)
        return torch.cat(every)

    def peak_memory(self) -> int | None:
        """Of all processes on processors, of the fullest card otherwise."""
        mine = super().peak_memory()
        if mine is None:
            return None
        every = self.gather(np.array([mine]))
        return int(every.sum() if self.backend.device_type == "cpu" else every.max())

    def broadcast_int(self, number: int) -> int:
        """By the host's network alone."""
        said = torch.tensor(number, dtype=torch.int64)
        dist.broadcast(said, src=0)
        return int(said)

    def abort(self) -> None:
        """Between cards kernels wait for one that is gone; between processors the connection breaks by itself."""
        if self.backend.device_type != "cpu" and dist.is_initialized():
            dist.distributed_c10d._abort_process_group()

    def close(self) -> None:
        """Leave; the next plan may spread over others."""
        if dist.is_initialized():
            group = dist.group.WORLD
            dist.destroy_process_group()
            # A reducer that is the last to let go of the group waits for gloo's threads with the interpreter locked,
            # and they for the interpreter.
            while _wrapped:
                module = _wrapped.pop()
                del module.reducer, module.logger
            del group
        leave()


class FullySharded(DataParallel):
    """Parameters, gradients and optimizer state in parts, one in each process, by ``fully_shard``.

    Each leaf is cut along the first axis of its storage. A step gathers the parameters that it trains, and those that
    it only uses, for the time of the step.
    """

    def __init__(self, backend: TorchBackend, device: Device) -> None:
        super().__init__(backend, device)
        self.mesh: DeviceMesh = init_device_mesh(backend.device_type, (self.size,))

    def shard_params(self, tree: Tree) -> Tree:
        """Each array in parts, as DTensors of the logical shape; scalars are whole in each process."""

        def cut(x: Tensor) -> Tensor:
            if x.ndim == 0:
                return distribute_tensor(x, self.mesh, [Replicate()])
            order = _storage(x)
            mine: Tensor = distribute_tensor(x.permute(order), self.mesh, [Shard(0)])
            return mine.permute(_inverse(order))

        return optree.tree_map(cut, tree)

    def gather_params(self, tree: Tree) -> Tree:
        """Every part gathered; what was never cut stays as it is."""
        return optree.tree_map(lambda x: x.full_tensor() if isinstance(x, DTensor) else x, tree)

    def value_and_grad(
        self, fn: Callable[..., tuple[Array, Tree]], plan: Plan | None = None, *, shards: bool = False
    ) -> Callable[..., tuple[tuple[Array, Tree], Tree]]:
        """Gather, differentiate, and leave each process its part of the averaged gradients."""
        if shards:
            return self._of_shards(fn, Plan() if plan is None else plan)
        differentiate = super().value_and_grad(fn, plan)

        def gathered(params: Tree, *args: Any) -> tuple[tuple[Array, Tree], Tree]:
            with torch.no_grad():
                return differentiate(params, *self.gather_params(args))

        return gathered

    def _of_shards(self, fn: Callable[..., tuple[Array, Tree]], plan: Plan) -> Callable[..., Any]:
        """Differentiate a function that gathers by itself, and whose backward pass averages the gradients."""
        function = self.backend.compile(fn, plan)

        def differentiate(params: Tree, *args: Any) -> tuple[tuple[Array, Tree], Tree]:
            leaves: list[Any]
            leaves, structure = optree.tree_flatten(params)
            try:
                for leaf in leaves:
                    leaf.requires_grad_()
                with torch.enable_grad():
                    loss, aux = function(params, *args)
                    if loss.requires_grad:
                        loss.backward()
                grads = [torch.zeros_like(x) if x.grad is None else _like(x.grad, x) for x in leaves]
            finally:
                for leaf in leaves:
                    leaf.requires_grad_(False)
                    leaf.grad = None
            return self._mean((loss.detach(), self.backend.constant(aux)), args), structure.unflatten(grads)

        return differentiate

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Each process updates its parts."""
        return _OfParts(optimizer)

    def _wrap(self, module: _Loss, plan: Plan) -> Any:
        from torch.distributed.fsdp import fully_shard

        return fully_shard(module, mesh=self.mesh)


@dataclass(frozen=True)
class _OfParts(Optimizer):
    """An optimizer on this process's parts of DTensors: all of them compute element by element."""

    whole: Optimizer

    def init(self, params: Tree) -> dict[str, Tree]:
        # All slots begin as zeros: those of a number say which there are.
        slots = self.whole.init({"": torch.zeros((), device=optree.tree_leaves(params)[0].device)})
        return {name: x if name == "step" else optree.tree_map(torch.zeros_like, params) for name, x in slots.items()}

    @torch.no_grad()
    def update(
        self, grads: Tree, state: dict[str, Tree], params: Tree, lr: float, *, skip: Array | None = None
    ) -> tuple[Tree, dict[str, Tree]]:
        new = self.whole.update(_locals(grads), _locals(state), _locals(params), lr, skip=skip)
        before: Any = (params, state)
        after: Any = new
        for held, now in zip(optree.tree_leaves(before), optree.tree_leaves(after), strict=True):
            mine = local_of(held)
            if mine is not now:
                mine.copy_(now)
        return params, state


def _locals(tree: Tree) -> Tree:
    return optree.tree_map(local_of, tree)


class _Loss(torch.nn.Module):
    """A loss function as a module that holds the parameters which take part in it.

    Args:
        function: ``function(params, *args) -> (loss, aux)``.
        structure: of its parameters.
        leaves: their values now.
        used: which of them take part.
    """

    def __init__(self, function: Callable[..., Any], structure: Any, leaves: list[Tensor], used: list[bool]) -> None:
        super().__init__()
        self.function, self.structure, self.used = function, structure, used
        self.sharded = any(isinstance(leaf, DTensor) for leaf in leaves)
        whole = [leaf.full_tensor() if isinstance(leaf, DTensor) else leaf.detach() for leaf in leaves]
        # FSDP wants parameters as they lie in memory; DDP takes them as they are.
        self.orders = [_storage(x) if self.sharded else tuple(range(x.ndim)) for x in leaves]
        self.held = torch.nn.ParameterList(
            torch.nn.Parameter(x.permute(order).contiguous() if self.sharded else x)
            for x, order, taken in zip(whole, self.orders, used, strict=True)
            if taken
        )
        self.idle = [None if taken else x for x, taken in zip(whole, used, strict=True)]

    def forward(self, *args: Any) -> Any:
        """Loss and aux."""
        held = iter(self.held)
        leaves = [
            next(held).permute(_inverse(order)) if taken else idle
            for order, idle, taken in zip(self.orders, self.idle, self.used, strict=True)
        ]
        return self.function(self.structure.unflatten(leaves), *args)

    def take(self, leaves: list[Tensor]) -> None:
        """Compute with these values from now on; where the memory is another, it becomes that of the parameters."""
        taken = [(x, order) for x, order, taken in zip(leaves, self.orders, self.used, strict=True) if taken]
        for parameter, (leaf, order) in zip(self.held, taken, strict=True):
            parameter.grad = None
            if not self.sharded:
                parameter.data = leaf
                continue
            mine, its = local_of(parameter), local_of(leaf)
            if mine.data_ptr() != its.data_ptr():
                mine.copy_(its.permute(order))
                its.data = mine.permute(_inverse(order))  # one memory: an update in place is seen by both

    def gradients(self, leaves: list[Tensor]) -> list[Tensor]:
        """A gradient for each leaf; zeros for those that take no part."""
        held = iter(self.held)
        found = []
        for leaf, order, taken in zip(leaves, self.orders, self.used, strict=True):
            if not taken:
                found.append(torch.zeros_like(leaf))
                continue
            grad = next(held).grad
            found.append(torch.zeros_like(leaf) if grad is None else grad.permute(_inverse(order)))
        return found


def _like(gradient: Any, parameter: Any) -> Tensor:
    """A gradient that is spread over the processes as its parameter is."""
    found: Tensor = gradient.redistribute(placements=parameter.placements)
    return found


def local_of(tensor: Tensor) -> Tensor:
    """This process's part of a tensor; of one that is whole, itself."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def _used(function: Callable[..., Any], leaves: list[Tensor], structure: Any, args: Any) -> list[bool]:
    whole = [leaf.full_tensor() if isinstance(leaf, DTensor) else leaf for leaf in leaves]
    tracked = [leaf.detach().requires_grad_() for leaf in whole]
    with torch.enable_grad():
        loss, _ = function(structure.unflatten(tracked), *args)
        if not loss.requires_grad:
            return [False] * len(leaves)
        return [g is not None for g in torch.autograd.grad(loss, tracked, allow_unused=True)]


def _storage(x: Tensor) -> tuple[int, ...]:
    """The axes of a tensor in the order in which they lie in memory."""
    strides: Any = x.stride()
    return tuple(sorted(range(x.ndim), key=lambda axis: (-strides[axis], axis)))


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(order.index(axis) for axis in range(len(order)))
