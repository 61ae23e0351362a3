"""What a layer is, and how layers combine."""

from __future__ import annotations

import abc
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hal import ops, registry
from hal.errors import HalError, ShapeError
from hal.types import Array, Tree

__all__ = ["Layer", "Param", "Residual", "Sequential", "null_tree"]

Shape = tuple[int, ...]
Specs = dict[str, Any]


@dataclass(frozen=True)
class Param:
    """A parameter or a piece of state, before it has a value.

    Attributes:
        shape: logical shape.
        init: name in :data:`hal.nn.init.INITIALIZERS`.
        axes: what the axes mean, for the backend's storage order; see :meth:`hal.contract.Backend.from_host`.
        cast: whether layers compute with it in the plan's precision; false for what must stay fp32.
        dtype: of its value.
    """

    shape: Shape
    init: str
    axes: str = ""
    cast: bool = True
    dtype: str = "float32"


@dataclass(frozen=True)
class Layer(abc.ABC):
    """A frozen description of a computation; holds no arrays.

    A layer with parameters says which in :meth:`params`; one with state that training updates (running statistics)
    in :meth:`state`. Shapes are those of one sample, without the batch.
    """

    @property
    def takes_ids(self) -> bool:
        """Whether the layer takes integers."""
        return False

    @property
    def draws(self) -> bool:
        """Whether the layer draws random numbers during training."""
        return False

    @property
    def path(self) -> str | None:
        """Where in a model the layer is, if it knows that itself; else the layers around it tell."""
        return None

    def params(self, shape: Shape) -> Specs:
        """Parameters for an input of a shape: nested dicts of :class:`Param`."""
        return {}

    def state(self, shape: Shape) -> Specs:
        """State for an input of a shape: nested dicts of :class:`Param`."""
        return {}

    @abc.abstractmethod
    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """Compute.

        Args:
            params: values for :meth:`params`.
            state: values for :meth:`state`.
            x: (batch, ...).
            training: whether dropout drops and statistics are those of the batch.
            key: random key; layers that draw need one when training.

        Returns:
            The result (batch, ...) and the state from now on.
        """

    def children(self) -> Mapping[str, Layer]:
        """The layers inside this one, by name."""
        return {}

    def without_activation(self) -> tuple[Layer, str | None]:
        """This layer without its activation, and the activation by name; a layer that has none is itself."""
        return self, None

    def taking_activation(self, name: str) -> Layer | None:
        """This layer followed by a nondecreasing activation of the layer before it; None unless the two commute."""
        return None

    def output_shape(self, shape: Shape, dtype: str = "float32") -> Shape:
        """Shape of the output for an input of a shape, found by running the layer on the null backend.

        Raises:
            ShapeError: the layer does not fit such an input.
        """
        backend = registry.backend("null")
        device = backend.devices()[0]
        x = backend.from_host(np.broadcast_to(np.zeros((), dtype), (2, *shape)), device)
        y, _ = self.apply(null_tree(self.params(shape)), null_tree(self.state(shape)), x)
        return tuple(y.shape[1:])


def null_tree(specs: Mapping[str, Any], dtype: str = "float32") -> dict[str, Any]:
    """Arrays of the null backend in the shapes of a tree of :class:`Param`."""
    backend = registry.backend("null")
    device = backend.devices()[0]

    def make(spec: Any) -> Any:
        if isinstance(spec, Mapping):
            return {name: make(child) for name, child in spec.items()}
        return backend.from_host(np.broadcast_to(np.zeros((), dtype), spec.shape), device)

    return {name: make(child) for name, child in specs.items()}


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    **{name: getattr(ops, name) for name in ("elu", "gelu", "relu", "sigmoid", "silu", "softmax", "softplus", "tanh")},
    "gelu_exact": functools.partial(ops.gelu, exact=True),
}


_NONDECREASING = ("elu", "relu", "sigmoid", "softplus", "tanh")


def activate(name: str | None, x: Array) -> Array:
    """Apply an activation by name; None leaves the values as they are.

    Raises:
        ShapeError: there is none of that name.
    """
    if name is None:
        return x
    if name not in ACTIVATIONS:
        raise ShapeError(f"activation={name!r} is not known; use one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name](x)


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """Layers one after the other, each named after its type and its count: conv2d, conv2d_1, ...

    Max-pooling takes over a nondecreasing activation that stands in front of it. Both orders give the same result;
    where each op is a pass over memory, pooling comes first, and the activation has a quarter of the values to do.
    """

    layers: tuple[tuple[str, Layer], ...]

    def __init__(self, *layers: Layer) -> None:
        seen: dict[str, int] = {}
        named = []
        for layer in _pooled_first(layers):
            kind = type(layer).__name__.lower()
            count = seen.get(kind, 0)
            seen[kind] = count + 1
            named.append((f"{kind}_{count}" if count else kind, layer))
        object.__setattr__(self, "layers", tuple(named))

    def children(self) -> Mapping[str, Layer]:
        """The layers, in order."""
        return dict(self.layers)

    def _collect(self, shape: Shape, which: str) -> Specs:
        specs: Specs = {}
        for name, layer in self.layers:
            try:
                found = getattr(layer, which)(shape)
                if found:
                    specs[name] = found
                shape = layer.output_shape(shape, "int64" if layer.takes_ids else "float32")
            except HalError as error:
                raise ShapeError(f"layer {name} does not fit an input of {shape}: {error.message}") from error
        return specs

    def params(self, shape: Shape) -> Specs:
        """The layers' parameters by name; layers without any are left out."""
        return self._collect(shape, "params")

    def state(self, shape: Shape) -> Specs:
        """The layers' state by name; layers without any are left out."""
        return self._collect(shape, "state")

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """One layer after the other, each with its own random key."""
        new_state = {}
        for index, (name, layer) in enumerate(self.layers):
            own = ops.fold_in(key, index) if key is not None and layer.draws else None
            x, after = layer.apply(params.get(name, {}), state.get(name, {}), x, training=training, key=own)
            if after:
                new_state[name] = after
        return x, new_state

    @property
    def takes_ids(self) -> bool:
        """Whether the first layer takes integers."""
        return bool(self.layers) and self.layers[0][1].takes_ids

    @property
    def draws(self) -> bool:
        """Whether any layer draws random numbers."""
        return any(layer.draws for _, layer in self.layers)


def _pooled_first(layers: Sequence[Layer]) -> list[Layer]:
    ordered = list(layers)
    for index, (layer, following) in enumerate(itertools.pairwise(layers)):
        bare, activation = layer.without_activation()
        later = following.taking_activation(activation) if activation in _NONDECREASING else None
        if later is not None:
            ordered[index : index + 2] = [bare, later]
    return ordered


@dataclass(frozen=True)
class Residual(Layer):
    """activation(body(x) + shortcut(x)); without a shortcut layer, x itself is added (He et al., arXiv 1512.03385)."""

    body: Layer
    shortcut: Layer | None = None
    activation: str | None = None

    def children(self) -> Mapping[str, Layer]:
        """The body and the shortcut, if there is one."""
        return {"body": self.body} if self.shortcut is None else {"body": self.body, "shortcut": self.shortcut}

    def params(self, shape: Shape) -> Specs:
        """The parameters of the body and the shortcut."""
        return {name: found for name, part in self.children().items() if (found := part.params(shape))}

    def state(self, shape: Shape) -> Specs:
        """The state of the body and the shortcut."""
        return {name: found for name, part in self.children().items() if (found := part.state(shape))}

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The sum of the body and the shortcut.

        Raises:
            ShapeError: they give different shapes.
        """
        results, new_state = [], {}
        for index, (name, part) in enumerate(self.children().items()):
            own = ops.fold_in(key, index) if key is not None and part.draws else None
            y, after = part.apply(params.get(name, {}), state.get(name, {}), x, training=training, key=own)
            results.append(y)
            if after:
                new_state[name] = after
        other = x if self.shortcut is None else results[1]
        if tuple(results[0].shape) != tuple(other.shape):
            raise ShapeError(
                f"the residual body gives {tuple(results[0].shape)} and its shortcut {tuple(other.shape)}, but they "
                "must have the same shape; pass shortcut= a layer that gives this shape"
            )
        return activate(self.activation, results[0] + other), new_state

    @property
    def draws(self) -> bool:
        """Whether the body or the shortcut draws random numbers."""
        return any(part.draws for part in self.children().values())
