"""Watches the ops that a model calls, with the layer that called each; costs nothing where nobody watches."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hal import ops
from hal.contract import Backend
from hal.contract.device import Device
from hal.nn import Layer
from hal.tensor import Key, Ops
from hal.tensor.dispatch import serving
from hal.types import Array, Tree

__all__ = ["Call", "Watch", "host_random", "watched"]


@dataclass(frozen=True)
class Call:
    """One call of an op by a model.

    Attributes:
        layer: path of the layer that calls it, ``body/conv2d_1``; empty outside of layers.
        op: its name in :mod:`hal.ops`.
        function: the backend's own implementation.
        args: as the model gives them.
        kwargs: as the model gives them.
    """

    layer: str
    op: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def run(self) -> Tree:
        """What the op gives."""
        return self.function(*self.args, **self.kwargs)


Watch = Callable[[Call], Tree]
"""Gets each call and gives what the model goes on with."""

# Not of interest: what takes no array, and what gives arbitrary values.
_WATCHED = frozenset(ops.__all__) - {"empty_like", "fold_in", "namespace", "split_key"}


class _HostRandom:
    """A backend's ops whose random numbers NumPy draws on the host from a :class:`hal.tensor.Key`.

    Every backend has its own generators, so that equal keys give other numbers on each; here they give the same. And
    layers that order their ops by what a backend fuses take one order on all.
    """

    fuses = False

    def __init__(self, inner: Ops, backend: Backend, device: Device) -> None:
        self._inner, self._backend, self._device = inner, backend, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def uniform(self, key: Key, shape: Sequence[int], *, like: Array) -> Array:
        return self._on_device(_generator(key).random(tuple(shape), dtype=np.float32), like)

    def normal(self, key: Key, shape: Sequence[int], *, like: Array) -> Array:
        return self._on_device(_generator(key).standard_normal(tuple(shape), dtype=np.float32), like)

    def dropout(self, x: Array, rate: float, key: Key) -> Array:
        if rate == 0:
            return x
        keep = _generator(key).random(tuple(x.shape), dtype=np.float32) >= rate
        return x * self._on_device(keep.astype(np.float32) / np.float32(1 - rate), x)

    def attention(self, *arrays: Array, dropout: float = 0.0, **options: Any) -> Array:
        if dropout == 0:
            return self._inner.attention(*arrays, **options)
        mine: Any = self  # hal's definition, which drops weights by the method above
        return Ops.attention(mine, *arrays, dropout=dropout, **options)

    def _attention(self, *arguments: Any) -> Array:
        mine: Any = self
        return Ops._attention(mine, *arguments)

    def _on_device(self, drawn: np.ndarray, like: Array) -> Array:
        return self._inner.cast(self._backend.from_host(drawn, self._device), like.dtype)


def _generator(key: Key) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key.seed or 0))


class _Watched:
    """Ops that show each outermost call to a watch: not what an op calls itself, and not the body of a scan."""

    def __init__(self, inner: _HostRandom, watch: Watch, layers: _Layers) -> None:
        self._inner, self._watch, self._layers, self._inside = inner, watch, layers, False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return functools.partial(self._call, name, found) if name in _WATCHED else found

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tree:
        if self._inside:
            return function(*args, **kwargs)
        self._inside = True
        try:
            return self._watch(Call(self._layers.path, name, function, args, kwargs))
        finally:
            self._inside = False


@dataclass
class _Layers:
    """Knows which layer is at work: each layer's ``apply`` is replaced by one that says so, and put back.

    A layer that knows its path is known by that; one with parameters by them, since the tree that holds them has their
    path; one without by its name in the layer around it, or by its type.
    """

    paths: Mapping[int, str]
    stack: list[_Scope] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.stack[-1].path if self.stack else ""

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        own = {kind: kind.__dict__["apply"] for kind in _kinds(Layer) if "apply" in kind.__dict__}
        try:
            for kind, apply in own.items():
                setattr(kind, "apply", self._following(apply))  # noqa: B010 - a method of a frozen class
            yield
        finally:
            for kind, apply in own.items():
                setattr(kind, "apply", apply)  # noqa: B010

    def _following(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(apply)
        def call(layer: Layer, params: Tree, *args: Any, **kwargs: Any) -> Any:
            self.stack.append(_Scope(self._named(layer, params), list(layer.children().items())))
            try:
                return apply(layer, params, *args, **kwargs)
            finally:
                self.stack.pop()

        return call

    def _named(self, layer: Layer, params: Tree) -> str:
        if layer.path is not None:
            return layer.path
        name = self.stack[-1].take(layer) if self.stack else None
        if params and id(params) in self.paths:
            return self.paths[id(params)]
        name = name or type(layer).__name__.lower()
        return f"{self.path}/{name}" if self.path else name


@dataclass
class _Scope:
    path: str
    children: list[tuple[str, Layer]]

    def take(self, layer: Layer) -> str | None:
        """The name of a layer in this one; layers are taken in order, as one object may stand under several names."""
        for place, (name, child) in enumerate(self.children):
            if child is layer:
                del self.children[place]
                return name
        return None


def _kinds(kind: type) -> Iterator[type]:
    subclasses: list[type] = kind.__subclasses__()
    for inner in subclasses:
        yield inner
        yield from _kinds(inner)


def _paths(tree: Tree, path: str = "") -> Iterator[tuple[int, str]]:
    for name, inner in tree.items():
        if isinstance(inner, Mapping) and inner:
            here = f"{path}/{name}" if path else name
            yield id(inner), here
            yield from _paths(inner, here)


@contextlib.contextmanager
def host_random(backend: Backend, device: Device) -> Iterator[None]:
    """Let NumPy draw the random numbers of a backend's ops, the same on every backend; keys are hal.tensor.Key."""
    like = backend.from_host(np.zeros(1, np.float32), device)
    with serving(like, _HostRandom(backend.ops(device), backend, device)):
        yield


@contextlib.contextmanager
def watched(backend: Backend, device: Device, params: Tree, watch: Watch) -> Iterator[None]:
    """Show a watch each op that a model calls, eagerly, in order; random numbers are those of :func:`host_random`.

    Args:
        backend: whose ops; only its own arrays are watched.
        device: which the arrays are on.
        params: the tree of parameters that the model gets, the very objects.
        watch: sees the calls.
    """
    layers = _Layers(dict(_paths(params)))
    inner = _HostRandom(backend.ops(device), backend, device)
    like = backend.from_host(np.zeros(1, np.float32), device)
    with serving(like, _Watched(inner, watch, layers)), layers.followed():
        yield
