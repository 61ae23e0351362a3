"""``torch.cuda.CUDAGraph`` for the cards: the calls into the card are noted while a graph records, and made again.

As on a card, recording computes nothing: what was there before is as it was. A replay reads and writes the arrays that
the graph was recorded with. What waits for the card cannot be recorded.
"""

import itertools
from typing import Any

import optree
import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["install"]

POISON = float("nan")
WAITING = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
"""What the host cannot go on without; so are copies from and to memory that is not pinned."""


class CUDAGraph:
    """What was recorded."""

    def __init__(self, keep_graph: bool = False) -> None:
        self.calls: list[tuple[bool, Any, Any, Any, Any]] = []

    def replay(self) -> None:
        """Compute it again."""
        below: Any = torch._C._AutoDispatchBelowAutograd()
        with below:
            for keeps, function, args, kwargs, results in self.calls:
                # The processor's recurrent layers give what their gradients need only where gradients are switched on.
                with torch.set_grad_enabled(keeps):
                    found = function(*args, **kwargs)
                with torch.no_grad():
                    for old, new in zip(_tensors(results), _tensors(found), strict=True):
                        if _memory(old) != _memory(new):
                            old.copy_(new)


class Recorder(TorchDispatchMode):
    """Notes calls, and what they overwrite that was there before."""

    def __init__(self, into: CUDAGraph) -> None:
        super().__init__()
        self.into, self.before, self.made = into, [], set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for value, argument in itertools.zip_longest(args, function._schema.arguments[: len(args)]):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(value)
        results = function(*args, **kwargs)
        copied = {tensor.device.type for tensor in _tensors([args, results])}
        # The cards' recurrent layers copy to the processor; what else does is found in the forward pass.
        blocking = not kwargs.get("non_blocking") and torch._C._current_graph_task_id() == -1
        if function in WAITING or (len(copied) > 1 and blocking and "copy" in str(function)):
            error = torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing")
            error.error_code = 900
            raise error
        made, given = set(map(_memory, _tensors(results))), set(map(_memory, _tensors([args, kwargs])))
        self.made |= made - given
        if torch.Tag.inplace_view not in function.tags:  # which changes the form of a tensor, and not what it holds
            self.into.calls.append((torch.is_grad_enabled(), function, *map(_as_they_are, (args, kwargs, results))))
        return results

    def _keep(self, value: Any) -> None:
        for tensor in _tensors(value):
            if (
                tensor.is_cuda
                and _memory(tensor) not in self.made
                and all(each is not tensor for each, _ in self.before)
            ):
                self.before.append((tensor, tensor.clone()))

    def undo(self) -> None:
        """Give everything that was there before its value again; what is new has none."""
        for tensor, value in reversed(self.before):
            tensor.copy_(value)
        for *_, results in self.into.calls:
            for tensor in _tensors(results):
                if _memory(tensor) in self.made and tensor.is_floating_point():
                    tensor.fill_(POISON)


class Recording:
    """``torch.cuda.graph``."""

    def __init__(
        self, graph: CUDAGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"
    ) -> None:
        self.recorder = Recorder(graph)

    def __enter__(self) -> None:
        torch.cuda.synchronize()
        self.recorder.__enter__()

    def __exit__(self, *failure: Any) -> None:
        self.recorder.__exit__(*failure)
        with torch.no_grad():
            self.recorder.undo()


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _as_they_are(tree: Any) -> Any:
    """The same tree of tensors, whose form stays while that of the given ones may change."""
    return optree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, tree)


def _tensors(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))
    elif isinstance(tree, (list, tuple)):
        for each in tree:
            yield from _tensors(each)


def install() -> None:
    """Let graphs be recorded."""
    cuda: Any = torch.cuda
    cuda.CUDAGraph, cuda.graph, cuda.graph_pool_handle = CUDAGraph, Recording, object
