"""Runs a new graph with shapes only, so that whatever its ops refuse is found before anything runs, and all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hal import registry
from hal.errors import HalError
from hal.torch.conversion import Expected
from hal.torch.graph import Graph
from hal.torch.node import Node, mapped
from hal.torch.refusals import Refusal
from hal.torch.table import entry_of
from hal.types import Array

__all__ = ["dry_run"]

_KNOWN = frozenset("bool uint8 int8 int16 int32 int64 float16 float32 float64".split())


def dry_run(graph: Graph, expected: Mapping[int, Any]) -> list[Refusal]:
    """What the graph's ops refuse, and those whose result has another shape than PyTorch's.

    Args:
        graph: newly captured.
        expected: what each of its values looks like.
    """
    backend = registry.backend("null")
    device = backend.devices()[0]

    def array(looks: Expected) -> Array:
        dtype = looks.dtype if looks.dtype in _KNOWN else "float32"
        shape = tuple(2 if size is None else size for size in looks.shape)
        return backend.from_host(np.broadcast_to(np.zeros((), dtype), shape), device)

    def result(looks: Any) -> Any:
        return array(looks) if isinstance(looks, Expected) else tuple(map(result, looks)) if looks else None

    found: list[Refusal] = []
    unknown: set[int] = set()  # numbers that a refused op would have given, and what is computed from them

    def observer(node: Node, compute: Callable[[], Any]) -> Any:
        looks = expected[node.index]
        read: set[int] = set()
        mapped((node.args, tuple(node.kwargs.values())), lambda ref: read.add(ref.index))
        if read & unknown:
            unknown.add(node.index)
            return result(looks)
        if (why := _why_not(node)) is not None:
            found.append(Refusal(_named(node), why, node.place))
            if looks is None:
                unknown.add(node.index)
            return result(looks)
        try:
            value = compute()
        except HalError as error:
            found.append(Refusal(_named(node), error.message, node.place))
            return result(looks)
        except Exception as error:  # noqa: BLE001 - an entry that fails is told like one that refuses
            found.append(Refusal(_named(node), f"hal cannot translate it: {type(error).__name__}: {error}", node.place))
            return result(looks)
        if value is None and isinstance(looks, Expected):
            found.append(Refusal(_named(node), "this result of the op has no translation", node.place))
            return result(looks)
        if not _fits(value, looks):
            shape = getattr(value, "shape", None)
            why = f"hal gives the shape {shape} where PyTorch gives {getattr(looks, 'shape', looks)}; please report it"
            found.append(Refusal(_named(node), why, node.place))
            return result(looks)
        return value

    given: dict[str, dict[Any, Array]] = {"parameter": {}, "buffer": {}, "input": {}}
    for index, source in zip(graph.block.inputs, graph.sources, strict=True):
        if source.kind in given:
            given[source.kind][source.of] = array(expected[index])
    inputs = [given["input"][position] for position in sorted(given["input"])]
    key = backend.rng(0, device)
    graph(given["parameter"], given["buffer"], inputs, key, observer=observer)
    return found


def _why_not(node: Node) -> str | None:
    """Why an op cannot be translated at all; None if the table has it."""
    space, _, rest = node.op.partition("::")
    name = rest.partition(".")[0]
    if (node.dtype or "").startswith("complex"):
        return "complex numbers are not translated; use two real tensors"
    if entry_of(node.op) is not None:
        return None
    if space == "higher_order":
        return "control flow as an op has no translation; write it with torch.where"
    if name in _OF_VALUES:
        return "the shape of its result depends on values; use torch.where or a mask, which keep the shape"
    if name == "_local_scalar_dense":
        return "item(), int(), float() and tolist() take values out of the graph; keep them as tensors"
    if space not in ("aten", "prims", "operator"):
        return "an op of a library has no translation; register one"
    return "this op has no translation; write it with other ops, or register one"


_OF_VALUES = frozenset("nonzero masked_select unique _unique2 unique_consecutive unique_dim argwhere bincount".split())


def _named(node: Node) -> str:
    if node.op == "operator::getitem":
        return f"result {node.args[1] + 1} of several, such as the indices of max pooling,"
    if node.op.startswith("aten::_local_scalar_dense"):
        return "a tensor's value as a Python number"
    return node.op.removesuffix(".default")


def _fits(value: Any, looks: Any) -> bool:
    if not isinstance(looks, Expected):
        return True
    shape = getattr(value, "shape", None)
    if shape is None or len(shape) != len(looks.shape):
        return False
    return all(size is None or size == found for found, size in zip(shape, looks.shape, strict=True))
