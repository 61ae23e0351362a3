"""Functions whose kernels are recorded once as a graph and launched together: CUDA graphs, on AMD GPUs HIP graphs.

Launching a kernel costs the processor some microseconds, which is more than a small kernel takes to run. A graph holds
addresses: a function that is replayed reads its arguments from where they were when it was recorded, so that what
changes from call to call is copied there before. What is random draws from PyTorch's default generator, which graphs
seed anew for each replay.
"""

from __future__ import annotations

import contextlib
import operator
import random
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optree
import torch

from hal.backends._torch.compiling import seeded
from hal.backends._torch.errors import causes, is_out_of_memory
from hal.errors import UnsupportedError
from hal.tensor.random import Key
from hal.types import Tree

__all__ = ["Replayed"]

Tensor = torch.Tensor

_CALLS_BEFORE = 2
"""Calls that run kernel by kernel first: libraries set themselves up, optimizer states settle in memory."""

_MOST_RECORDINGS = 8
"""So many shapes of its arguments a function stays recorded for; the oldest recording makes place for another."""


class Replayed:
    """A function that is recorded at its third call with arguments of the same shapes, and replayed from then on.

    Results are the caller's own: they stay when the function is called again, but for donated arguments, whose memory
    the results take over.

    Args:
        fn: pure, of trees of tensors on one accelerator, keys and numbers; for the same shapes it launches the same
            kernels.
        donate: positions of arguments whose memory the first result takes over; that result has the same form.
        hold: positions of arguments that stay the same arrays from call to call, such as parameters.

    Raises:
        UnsupportedError: from a call, if the function cannot be recorded.
    """

    def __init__(self, fn: Callable[..., Any], donate: tuple[int, ...] = (), hold: tuple[int, ...] = ()) -> None:
        self._fn, self._donate, self._kept = fn, donate, (*donate, *hold)
        self._calls: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, _Recording] = {}
        self._pool: Any = None

    def __call__(self, *args: Any) -> Any:
        """The function's results."""
        fresh = tuple(None if place in self._kept else arg for place, arg in enumerate(args))
        leaves, structure = optree.tree_flatten(fresh)  # type: ignore[arg-type, var-annotated]
        form = (structure, *map(_form, leaves))
        found = self._recordings.get(form)
        if found is not None and found.takes(args):
            return found.replay(leaves)
        self._calls[form] = self._calls.get(form, 0) + 1
        if self._calls[form] <= _CALLS_BEFORE:
            return self._plainly(args, leaves, structure)
        # One for these shapes reads other held arrays; its memory serves the next one.
        self._recordings.pop(form, None)
        if len(self._recordings) == _MOST_RECORDINGS:
            self._recordings.pop(next(iter(self._recordings)))
        recording = self._recordings[form] = self._record(args, leaves, structure)
        self._calls[form] = 0
        return recording.replay(leaves)

    def _plainly(self, args: tuple[Any, ...], leaves: Sequence[Any], structure: Any) -> Any:
        """Kernel by kernel, with the random numbers that a replay draws."""
        device = _device(args)
        changing = structure.unflatten([_ambient(leaf, device) for leaf in leaves])
        before = _host_generators()
        with _drawing(leaves, device):
            found = self._fn(*self._whole(args, changing))
        if before != _host_generators():
            raise UnsupportedError(
                "launch=graph is not possible here: the model draws random numbers from Python's or NumPy's generator, "
                "and a recorded graph would use those of one step in all others",
                fix="draw them with torch, or use launch=kernels",
            )
        return found

    def _whole(self, args: tuple[Any, ...], changing: tuple[Any, ...]) -> list[Any]:
        return [args[place] if place in self._kept else arg for place, arg in enumerate(changing)]

    def _record(self, args: tuple[Any, ...], leaves: Sequence[Any], structure: Any) -> _Recording:
        device = _device(args)
        inner = [torch.empty_like(leaf).copy_(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        inner = [_ambient(leaf, device) for leaf in inner]
        kept = {place: optree.tree_flatten(args[place]) for place in self._kept}
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # In this mode other threads may go on copying batches.
            record = torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")
            with torch.cuda.device(device), _drawing(leaves, device), record:
                results = self._fn(*self._whole(args, structure.unflatten(inner)))
                if self._donate:
                    _put_back(results[0], args[self._donate[0]])
                    results = results[1:]
                outputs = _Outputs(results)
        except Exception as error:
            # It ran before: whatever goes wrong now is about recording.
            if isinstance(error, UnsupportedError) or any(map(is_out_of_memory, causes(error))):
                raise
            raise UnsupportedError(
                f"launch=graph is not possible here: the step could not be recorded: {_said(error)}",
                fix="use launch=kernels",
            ) from error
        return _Recording(graph, device, kept, self._donate, inner, outputs)


@dataclass(frozen=True)
class _Recording:
    """A graph with the arrays that it reads and writes.

    Attributes:
        graph: what is launched.
        device: where.
        kept: leaves and form of the arguments that stay from call to call, by their positions.
        donate: positions of those that the first result is written to.
        inner: memory for the leaves of the other arguments.
        outputs: the results but for the first one where there are donated arguments.
    """

    graph: Any
    device: torch.device
    kept: dict[int, tuple[list[Any], Any]]
    donate: tuple[int, ...]
    inner: list[Any]
    outputs: _Outputs

    def takes(self, args: tuple[Any, ...]) -> bool:
        """Whether the arguments that stay from call to call are those that were recorded, or could be copied there."""
        given = {place: optree.tree_flatten(args[place]) for place in self.kept}
        for place, (mine, form) in self.kept.items():
            theirs, other_form = given[place]
            if form != other_form:
                return False
            same = all(map(operator.is_, mine, theirs))
            if not same and (place not in self.donate or list(map(_form, mine)) != list(map(_form, theirs))):
                return False
        for place in self.donate:
            for own, leaf in zip(self.kept[place][0], given[place][0], strict=True):
                if own is not leaf:
                    own.copy_(leaf)
        return True

    def replay(self, leaves: Sequence[Any]) -> Any:
        """Launch the graph with other arguments, given by the leaves of those that change."""
        changing = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        if changing:
            kernels: Any = torch  # whose types leave it out
            kernels._foreach_copy_([self.inner[place] for place in changing], [leaves[place] for place in changing])
        for own, leaf in zip(self.inner, leaves, strict=True):
            if isinstance(leaf, float):
                own.fill_(leaf)
        with torch.cuda.device(self.device), _drawing(leaves, self.device):
            self.graph.replay()
        results = self.outputs.taken()
        if not self.donate:
            return results
        mine, form = self.kept[self.donate[0]]
        return (form.unflatten(mine), *results)


class _Outputs:
    """What a recorded function returns, taken out of the graph's own memory. Scalars are copied as one array."""

    def __init__(self, results: Any) -> None:
        self._leaves, self._structure = optree.tree_flatten(results)
        self._scalars: dict[torch.dtype, list[int]] = {}
        for index, leaf in enumerate(self._leaves):
            if isinstance(leaf, Tensor) and leaf.ndim == 0:
                self._scalars.setdefault(leaf.dtype, []).append(index)
        self._stacks = {dtype: torch.stack([self._leaves[i] for i in at]) for dtype, at in self._scalars.items()}

    def taken(self) -> Any:
        leaves = [leaf.clone() if isinstance(leaf, Tensor) and leaf.ndim else leaf for leaf in self._leaves]
        for dtype, stack in self._stacks.items():
            for index, value in zip(self._scalars[dtype], stack.clone().unbind(0), strict=True):
                leaves[index] = value
        return self._structure.unflatten(leaves)


def _form(leaf: Any) -> Hashable:
    """What must be the same for a recording to serve."""
    if isinstance(leaf, Tensor):
        return (leaf.shape, leaf.dtype, leaf.device)
    if isinstance(leaf, float):
        return float
    return replace(leaf, seed=None) if isinstance(leaf, Key) else leaf


def _ambient(leaf: Any, device: torch.device) -> Any:
    """An argument as a recording takes it: numbers on the device, keys that stand for the default generator."""
    if isinstance(leaf, Key):
        return replace(leaf, seed=None)
    return torch.full((), leaf, dtype=torch.float32, device=device) if isinstance(leaf, float) else leaf


def _put_back(results: Tree, arguments: Tree) -> None:
    """Write results to where the donated arguments are, unless they are there already."""
    new, form = optree.tree_flatten(results)
    old, wanted = optree.tree_flatten(arguments)
    if form != wanted:
        raise UnsupportedError(
            "launch=graph is not possible here: a step returns values of another form than it takes",
            fix="use launch=kernels",
        )
    moved = [(a, b) for a, b in zip(old, new, strict=True) if a is not b]
    places = {a.untyped_storage().data_ptr() for a in old}
    # One value may be where another one goes.
    values = [b.clone() if b.untyped_storage().data_ptr() in places else b for _, b in moved]
    for (a, _), value in zip(moved, values, strict=True):
        a.copy_(value)


def _drawing(leaves: Sequence[Any], device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Seed the default generators by the key among the arguments, if there is one."""
    seeds = [leaf.seed for leaf in leaves if isinstance(leaf, Key) and leaf.seed is not None]
    return seeded(seeds[0], [device]) if seeds else contextlib.nullcontext()


def _device(args: tuple[Any, ...]) -> torch.device:
    leaves: list[Any] = optree.tree_leaves(args)  # type: ignore[arg-type]
    return next(leaf.device for leaf in leaves if isinstance(leaf, Tensor))


def _said(error: BaseException) -> str:
    """What an exception says, and the last line of code that is neither PyTorch's nor hal's on the way to it."""
    here = Path(__file__)
    inside = tuple(str(folder.resolve()) for folder in (Path(torch.__file__).parent, here.parents[2], here.parents[1]))
    places = [
        f"{frame.filename}:{frame.lineno}: "
        for frame in traceback.extract_tb(error.__traceback__)
        if not str(Path(frame.filename).resolve()).startswith(inside) and frame.name != "__torch_dispatch__"
    ]
    return "".join(places[-1:]) + str(error).splitlines()[0]


def _host_generators() -> tuple[Any, bytes]:
    name, numbers, *rest = np.random.get_state()
    return random.getstate(), np.asarray(numbers).tobytes() + repr((name, rest)).encode()
