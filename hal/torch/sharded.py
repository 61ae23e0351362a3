"""Runs a pass over a module whose parameters are sharded over processes, by PyTorch's ``fully_shard``.

The parameters of a block are gathered before the block computes and freed afterwards, in the forward pass and again in
the backward pass; those outside of blocks for the time of the pass. What is sharded is a copy of the module without
values: the shards are those that the training updates, and all passes over the module read the same ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial
from torch.utils._pytree import tree_map

from hal.tensor import Key
from hal.torch.blocks import blocks_of
from hal.torch.native import Native
from hal.torch.passes import PREFIX, Pass

__all__ = ["Sharded"]

Tensor = torch.Tensor
_disable: Any = torch.compiler.disable

_F = TypeVar("_F", bound=Callable[..., Any])


def _uncompiled(function: _F) -> _F:
    found: _F = _disable(function)
    return found


def _uncompiled_itself(function: _F) -> _F:
    found: _F = _disable(function, recursive=False)
    return found


class Sharded:
    """A pass over a copy of the module in which blocks are sharded; the copy is made at the first call.

    Args:
        work: a pass of :mod:`hal.torch.passes`.
        name: of the model, for errors.
        blocks: names of submodules that are gathered one at a time; None: they are found.
    """

    def __init__(self, work: Pass, name: str, blocks: Sequence[str] | None) -> None:
        self._work, self._blocks = work, blocks
        self._name = f"{name} under parallel=fsdp, which gathers the parameters of a part when that part is called,"
        self._mesh: Any = None

    # Compilers do not look into what follows, but into the parts of the module, each by itself.
    @_uncompiled_itself
    def __call__(
        self,
        params: Mapping[str, Any],
        state: Mapping[str, Tensor],
        args: tuple[Any, ...],
        *,
        training: bool,
        key: Key | None = None,
        precision: str = "fp32",
    ) -> tuple[Any, dict[str, Tensor]]:
        """As :class:`hal.torch.native.Native`, on parameters that are sharded along their first axis.

        Those that require a gradient get one, as ``grad``. The memory of all becomes that of the shards.
        """
        if self._other(params):
            self._make(params)
        return self._run(self._take(params), state, args, training=training, key=key, precision=precision)

    @_uncompiled
    def _other(self, params: Mapping[str, Any]) -> bool:
        """Whether these parameters are of other processes than the last ones, or lie in other memory altogether."""
        if self._mesh is not next(iter(params.values())).device_mesh:
            return True
        return all(x.data_ptr() != params[path]._local_tensor.data_ptr() for path, x in self._local())

    def _local(self) -> Iterator[tuple[str, Tensor]]:
        for path, shard in self._shards.items():
            yield path, shard._local_tensor

    @_uncompiled
    def _make(self, params: Mapping[str, Any]) -> None:
        first = next(iter(params.values()))
        self._mesh = first.device_mesh
        work = _without_values(self._work)
        for path, parameter in work.named_parameters():
            parameter.requires_grad_(params[path.removeprefix(PREFIX)].requires_grad)
        # A number has no axis to be cut along: every process has it.
        whole = {parameter for parameter in work.parameters() if parameter.ndim == 0}
        for part in (*blocks_of(work.net, self._blocks).values(), work):
            part.register_forward_hook(_no_views)
            fully_shard(part, mesh=self._mesh, reshard_after_forward=True, ignored_params=whole)
        work.to_empty(device=first.device)
        self._run = _uncompiled_itself(Native(work, self._name).__call__)
        self._shards = {path.removeprefix(PREFIX): x for path, x in work.named_parameters() if isinstance(x, DTensor)}
        for path, shard in self._shards.items():
            # From here fully_shard takes it. Where the processes cannot have equal shards, it makes a longer copy.
            shard._local_tensor = params[path]._local_tensor.contiguous()
            if shard.requires_grad:
                cast("Any", shard).register_post_accumulate_grad_hook(self._hand_over(path))

    @_uncompiled
    def _take(self, params: Mapping[str, Any]) -> dict[str, Tensor]:
        """Let the shards be these parameters; gives those that every process has."""
        self._params = params
        for path, mine in self._local():
            its = params[path]._local_tensor
            if mine.data_ptr() != its.data_ptr():
                with torch.no_grad():
                    mine.copy_(its)
            params[path]._local_tensor = mine  # one memory: an update in place is seen by both
        return {path: _whole(x) for path, x in params.items() if path not in self._shards}

    def _hand_over(self, path: str) -> Callable[[Any], None]:
        def hand_over(shard: Any) -> None:
            self._params[path].grad, shard.grad = shard.grad, None

        return hand_over


def _no_views(part: nn.Module, args: Any, outputs: Any) -> Any:
    """Outputs that may be changed in place: of a view, that would lose the hook that gathers for the backward pass."""
    return tree_map(lambda x: x.clone() if isinstance(x, Tensor) and x._is_view() else x, outputs)


def _whole(number: Any) -> Tensor:
    """A parameter that every process has; its gradient is the mean over the processes."""
    found: Any = number.to_local(grad_placements=[Partial()])
    if found.requires_grad:
        found.register_hook(lambda gradient: gradient / number.device_mesh.size())
    whole: Tensor = found
    return whole


def _without_values(work: Pass) -> Pass:
    """A copy of a pass and of its module, whose parameters and buffers have shapes alone."""
    known: dict[int, Any] = {id(work.code): work.code, id(work.form): work.form}
    for x in work.parameters():
        known[id(x)] = nn.Parameter(torch.empty(x.shape, dtype=torch.float32, device="meta"), requires_grad=False)
    for buffer in work.buffers():
        known[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(work, known)
