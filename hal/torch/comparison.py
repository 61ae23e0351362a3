"""Compares a captured graph with the module itself, once for each capture, so that nothing is captured wrongly."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from hal import registry
from hal.torch.capture import plain_outputs, quiet
from hal.torch.graph import Graph
from hal.torch.node import Node, Place
from hal.torch.places import own_error
from hal.torch.refusals import Refusal, refused
from hal.torch.table.call import EXPECTED

__all__ = ["compare"]

_VALUES = 1e-4  # of the largest value of an output
_GRADIENTS = 1e-3  # of the largest value of a parameter's gradient
_SMALL = 1e-5  # of the largest gradient of all: what a gradient that should be zero may be
_STEP = 2**-20  # by how much parameters are moved, relative, to see what rounding is worth
_ALLOWED = 16  # times as much as that


def compare(
    module: nn.Module,
    graph: Graph,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    training: bool,
) -> None:
    """Check that outputs, changed buffers and first gradients of a graph are those of the module, on the host.

    Random numbers are their expected values on both sides, so that dropout does nothing. A difference is compared with
    what moving the parameters by a rounding does to the module itself.

    Args:
        module: what was captured; is left as it was.
        graph: what :func:`hal.torch.capture.capture` gave for it.
        args: positional arguments, like those of the capture.
        kwargs: arguments by name.
        training: the mode of the capture.

    Raises:
        UnsupportedError: they differ. The message names the first layer whose output does, or whose gradient.
    """
    backend = registry.backend("cpu")
    backend.ops(backend.devices()[0])  # from now on hal.ops serves tensors
    sides = _Sides(module, graph, args, kwargs, training)
    own = sides.own(0.0)
    if (wrong := _difference(own, sides.own(0.0), None)) is not None:
        why = (
            f"two calls with equal inputs give different values of the {wrong.what} {wrong.name}; keep what a call "
            "leaves for the next one in buffers, and draw random numbers with torch"
        )
        raise refused([Refusal("what the module remembers between calls", why, Place())])
    with quiet():
        captured = sides.captured(None)
    wrong = _difference(own, captured, None)
    if wrong is None:
        return
    wrong = _difference(own, captured, sides.own(_STEP))
    if wrong is not None:
        raise refused([sides.explained(wrong)])


@dataclass(frozen=True)
class _Found:
    """What one side gives: tensors by what they are."""

    outputs: Mapping[str, torch.Tensor]
    buffers: Mapping[str, torch.Tensor]
    gradients: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _Wrong:
    what: str
    name: str
    size: float


@dataclass(frozen=True)
class _Sides:
    module: nn.Module
    graph: Graph
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    training: bool

    def own(self, step: float) -> _Found:
        """The module itself, with its parameters moved by a share of their size."""
        params = {}
        for name, parameter in self.module.named_parameters():
            moved = parameter.detach() * (1 + step * _signs(parameter)) if step else parameter.detach().clone()
            params[name] = moved.requires_grad_(parameter.requires_grad)
        buffers = {name: buffer.detach().clone() for name, buffer in self.module.named_buffers()}
        with self.mode(), _Expected():  # type: ignore[no-untyped-call]
            try:
                given = pytree.tree_map(_copied, (self.args, dict(self.kwargs)))
                outputs = torch.func.functional_call(self.module, {**params, **buffers}, *given)
            except Exception as error:
                raise own_error(error, "Calling the module") from error
            return _found(plain_outputs(outputs), buffers, params)

    def captured(self, observer: Any) -> _Found:
        """The graph, on the same values."""
        params = {self.short(n): p.detach().clone().requires_grad_(p.requires_grad) for n, p in self.named()}
        buffers = {self.short(n): b.detach().clone() for n, b in self.module.named_buffers()}
        inputs = [_copied(leaf) for leaf in pytree.tree_leaves((self.args, dict(self.kwargs))) if _is_tensor(leaf)]
        outputs, buffers = self.graph(params, buffers, inputs, EXPECTED, observer=observer)
        longer = {self.short(name): name for name, _ in (*self.named(), *self.module.named_buffers())}
        return _found(
            outputs,
            {longer[name]: buffer for name, buffer in buffers.items()},
            {longer[name]: parameter for name, parameter in params.items()},
        )

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self.module.named_parameters()

    def short(self, name: str) -> str:
        return name.removeprefix(self.graph.prefix)

    @contextlib.contextmanager
    def mode(self) -> Iterator[None]:
        before = {part: part.training for part in self.module.modules()}
        self.module.train(self.training)
        try:
            yield
        finally:
            for part, was in before.items():
                part.training = was

    def explained(self, wrong: _Wrong) -> Refusal:
        """Where the difference comes from."""
        layer = self.first_layer() if wrong.what != "gradient" else self.short(wrong.name).rpartition(".")[0]
        why = (
            f"the {wrong.what} {self.short(wrong.name)} of the graph differs from the module's own by {wrong.size:.1e} "
            "of its scale, so that results would be wrong"
        )
        if wrong.what == "gradient":
            why += "; a backward of the module's own (torch.autograd.Function, hooks) is lost in the capture"
        return Refusal("the captured graph", why, Place(layer))

    def first_layer(self) -> str:
        """The first submodule whose output is not that of the graph's last op in it."""
        theirs: dict[str, list[torch.Tensor]] = {}
        order: list[str] = []
        handles = []
        for name, part in self.module.named_modules():
            if name:
                handles.append(part.register_forward_hook(_recorder(self.short(name), theirs, order)))
        try:
            self.own(0.0)
        finally:
            for handle in handles:
                handle.remove()
        ours: dict[str, list[torch.Tensor]] = {}

        def observer(node: Node, compute: Callable[[], Any]) -> Any:
            value = compute()
            if _is_tensor(value):
                ours.setdefault(node.place.layer, []).append(value.detach())
            return value

        self.captured(observer)
        for name in order:
            like = [value for value in ours.get(name, ()) if value.shape == theirs[name][0].shape]
            if like and not any(_deviation(value, theirs[name][0]) <= _VALUES for value in like):
                return name
        return ""


def _recorder(name: str, found: dict[str, list[torch.Tensor]], order: list[str]) -> Callable[..., None]:
    def hook(part: nn.Module, given: Any, output: Any) -> None:
        if _is_tensor(output) and name not in found:
            found[name] = [output.detach()]
            order.append(name)

    return hook


class _Expected(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Random numbers are their expected values, as in a graph that gets the key EXPECTED."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name == "aten::bernoulli_" and not _is_tensor(args[-1]):
            return args[0].fill_(args[1] if len(args) > 1 else 0.5)
        if name in ("aten::bernoulli_", "aten::bernoulli") and len(args) > 1 and _is_tensor(args[1]):
            return args[0].copy_(args[1])
        if name == "aten::bernoulli":
            return args[0].clone() if len(args) == 1 else torch.full_like(args[0], args[1])
        if name == "aten::native_dropout":
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        if name in ("aten::rand", "aten::rand_like"):
            return func(*args, **(kwargs or {})).fill_(0.5)
        if name in ("aten::randn", "aten::randn_like"):
            return func(*args, **(kwargs or {})).fill_(0.0)
        if name == "aten::uniform_":
            low, high = list(args[1:]) + [0.0, 1.0][len(args) - 1 :]
            return args[0].fill_((low + high) / 2)
        if name == "aten::normal_":
            return args[0].fill_(args[1] if len(args) > 1 else 0.0)
        if name == "aten::exponential_":
            return args[0].fill_(math.log(2) / (args[1] if len(args) > 1 else 1.0))
        return func(*args, **(kwargs or {}))


def _found(outputs: Any, buffers: Mapping[str, torch.Tensor], params: Mapping[str, torch.Tensor]) -> _Found:
    flat: list[tuple[Any, Any]] = pytree.tree_flatten_with_path(outputs)[0]
    leaves = {_path(path): leaf for path, leaf in flat if _is_tensor(leaf)}
    total: Any = 0.0
    for position, leaf in enumerate(leaves.values()):
        if leaf.dtype.is_floating_point and leaf.requires_grad:
            weights = torch.cos(torch.arange(leaf.numel(), dtype=leaf.dtype) * 0.7 + position)
            total = total + (leaf * weights.reshape(leaf.shape)).sum()
    trained = {name: parameter for name, parameter in params.items() if parameter.requires_grad}
    found: Sequence[Any] = [None] * len(trained)
    if _is_tensor(total) and trained:
        found = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(trained.items(), found, strict=True)
    }
    return _Found({name: leaf.detach() for name, leaf in leaves.items()}, buffers, gradients)


def _difference(own: _Found, captured: _Found, moved: _Found | None) -> _Wrong | None:
    """The largest difference beyond what is allowed; None if there is none."""
    if list(own.outputs) != list(captured.outputs):
        return _Wrong("list of outputs", ", ".join(captured.outputs), math.inf)
    kinds = (("output", own.outputs, captured.outputs, moved and moved.outputs),
             ("buffer", own.buffers, captured.buffers, moved and moved.buffers))  # fmt: skip
    for what, theirs, ours, third in kinds:
        for name, value in theirs.items():
            size = _deviation(ours[name], value)
            if size > max(_VALUES, _ALLOWED * _deviation(third[name], value) if third else 0.0):
                return _Wrong(what, name, size)
    largest = max((float(g.abs().max()) for g in own.gradients.values() if g.numel()), default=0.0)
    # The last layers first: gradients flow from there.
    for name, value in reversed(list(own.gradients.items())):
        size = _deviation(captured.gradients[name], value, _SMALL / _GRADIENTS * largest)
        worth = _ALLOWED * _deviation(moved.gradients[name], value, _SMALL / _GRADIENTS * largest) if moved else 0.0
        if size > max(_GRADIENTS, worth):
            return _Wrong("gradient", name, size)
    return None


def _deviation(found: torch.Tensor, wanted: torch.Tensor, least: float = 1e-30) -> float:
    """The largest difference as a share of the largest value, or of a least scale."""
    if found.shape != wanted.shape:
        return math.inf
    if not wanted.numel():
        return 0.0
    a, b = found.detach().double(), wanted.detach().double()
    same = (a == b) | (a.isnan() & b.isnan())
    apart = torch.where(same, 0.0, (a - b).abs())
    finite = torch.where(b.isfinite(), b.abs(), 0.0)
    size = float(apart.max()) / max(float(finite.max()), least, 1e-30)
    return math.inf if math.isnan(size) else size


def _signs(x: torch.Tensor) -> torch.Tensor:
    """1 and -1, the same for every run."""
    return torch.sign(torch.sin(torch.arange(x.numel(), dtype=torch.float32) + 0.5)).reshape(x.shape).to(x.dtype)


def _is_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor)


def _copied(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf


def _path(path: Sequence[Any]) -> str:
    return ".".join(str(getattr(part, "key", getattr(part, "idx", part))) for part in path) or "itself"
