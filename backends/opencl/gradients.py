"""Reverse-mode differentiation from graph to graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import optree

from hal.backends.opencl import primitives
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.derivatives import derivative, gradients_of_slices
from hal.errors import ShapeError, UnsupportedError
from hal.types import Tree

__all__ = ["value_and_grad"]


def value_and_grad(fn: Callable[..., tuple[Any, Tree]]) -> Callable[..., tuple[tuple[Any, Tree], Tree]]:
    """See :meth:`hal.contract.Backend.value_and_grad`."""

    @functools.wraps(fn)
    def differentiate(params: Tree, *args: Any) -> tuple[tuple[Any, Tree], Tree]:
        leaves, structure = optree.tree_flatten(params)
        variables = [primitives.variable(_differentiable(leaf)) for leaf in leaves]
        loss, aux = fn(structure.unflatten(variables), *args)
        if not isinstance(loss, OpenclArray) or loss.shape != () or loss.dtype.kind != "f":
            raise ShapeError(
                f"the loss is {loss!r}, but it must be a floating-point scalar, such as a mean over the batch"
            )
        gradients = _gradients(loss, variables)
        return (_detached(loss), optree.tree_map(_detached, aux)), structure.unflatten(gradients)

    return differentiate


def _differentiable(param: Any) -> OpenclArray:
    if not isinstance(param, OpenclArray) or param.dtype.kind != "f":
        raise UnsupportedError(
            f"cannot differentiate with respect to {param!r}",
            fix="make every parameter a floating-point array of this backend",
        )
    return param


def _detached(x: Any) -> Any:
    return primitives.detach(x) if isinstance(x, OpenclArray) else x


def _gradients(loss: OpenclArray, variables: Sequence[OpenclArray]) -> list[OpenclArray]:
    """The gradients of a loss; zeros where it does not depend on a variable."""
    found: dict[int, OpenclArray] = {id(loss): primitives.constant(loss.runtime, 1.0, loss.dtype)}
    cuts: dict[int, list[tuple[OpenclArray, OpenclArray]]] = {}
    for node in (*reversed(_between(loss, {id(variable) for variable in variables})), *variables):
        for piece in gradients_of_slices(node, cuts.pop(id(node), [])):
            found[id(node)] = found[id(node)] + piece if id(node) in found else piece
        if id(node) not in found or node.op == "detach":
            continue
        gradient = found.pop(id(node))
        if node.op == "cut":
            cuts.setdefault(id(node.sources[0]), []).append((node, gradient))
            continue
        for source, part in zip(node.sources, derivative(node, gradient), strict=True):
            if part is not None and source.tracked:
                assert part.shape == source.shape, f"a gradient of {node.op} is {part.shape}, not {source.shape}"
                typed = primitives.cast(part, source.dtype)
                found[id(source)] = found[id(source)] + typed if id(source) in found else typed
    return [
        # Detached, so that nothing keeps the graph of the loss once the gradient is in memory.
        primitives.detach(found[id(v)]) if id(v) in found else primitives.constant(v.runtime, 0.0, v.dtype, v.shape)
        for v in variables
    ]


def _between(loss: OpenclArray, variables: set[int]) -> list[OpenclArray]:
    """The nodes between a loss and the variables that it depends on, sources first; variables are left out."""
    order: list[OpenclArray] = []
    seen: set[int] = set(variables)
    stack = [(loss, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen and node.tracked:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((source, False) for source in node.sources if source.tracked)
    return order
