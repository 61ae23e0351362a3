"""An exported program of PyTorch as hal's own plain graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils import _pytree as pytree

from hal.torch.graph import Graph, Source, filled
from hal.torch.node import Block, DType, Node, Place, Ref
from hal.torch.places import own_line
from hal.torch.refusals import Refusal, refused
from hal.torch.table import entry_of

__all__ = ["Expected", "converted", "missing_ops"]

# Where tensors are and how they lie in memory is the backend's business.
_LEFT_OUT = frozenset("device layout pin_memory memory_format non_blocking generator copy".split())


@dataclass(frozen=True, slots=True)
class Expected:
    """What the capture says about a tensor: its shape, with None where that depends on values, and its dtype."""

    shape: tuple[int | None, ...]
    dtype: str


def missing_ops(program: ExportedProgram) -> list[Any]:
    """The ops of a program that the table has no entry for, as PyTorch's objects."""
    modules = [part for part in program.graph_module.modules() if isinstance(part, fx.GraphModule)]
    targets = [node.target for part in modules for node in part.graph.nodes if node.op == "call_function"]
    overloads = [target for target in dict.fromkeys(targets) if isinstance(target, torch._ops.OpOverload)]
    return [target for target in overloads if entry_of(_name(target)) is None]


def _name(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"{target._schema.name}.{target._overloadname}"
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"higher_order::{target._name}"
    return f"operator::{target.__name__}"


def converted(
    program: ExportedProgram, module: nn.Module, strip: str, exempt: frozenset[str] = frozenset()
) -> tuple[Graph, dict[int, Expected | tuple[Expected | None, ...]]]:
    """The graph of a program, and what its values look like, by their number.

    Args:
        program: functional.
        module: what was captured; says which parameters are tied.
        strip: beginning of names and paths that is left out.
        exempt: stack traces of ops that torch.autocast leaves alone.

    Raises:
        UnsupportedError: the module changes its parameters, which a graph cannot do.
    """
    names = _Names(module, strip)
    reader = _Reader(names, exempt)
    signature = program.graph_signature
    block = reader.block(program.graph_module)
    problems = list(_mutations(signature, names))
    if problems:
        raise refused(problems)
    sources, constants, position = [], {}, 0
    for spec in signature.input_specs:
        if spec.kind == InputKind.PARAMETER:
            sources.append(Source("parameter", names.first(spec.target)))
        elif spec.kind == InputKind.BUFFER:
            sources.append(Source("buffer", names.first(spec.target)))
        elif spec.kind == InputKind.CONSTANT_TENSOR:
            tensor = program.constants[spec.target]
            constants[spec.target] = _host(tensor)
            sources.append(Source("constant", spec.target))
        elif isinstance(spec.arg, ConstantArgument):
            sources.append(Source("value", spec.arg.value))
        else:
            sources.append(Source("input", position))
            position += 1
    found = block.outputs
    outputs = [value for spec, value in zip(signature.output_specs, found, strict=True) if _is_output(spec)]
    updates = {
        names.first(spec.target): value
        for spec, value in zip(signature.output_specs, found, strict=True)
        if spec.kind == OutputKind.BUFFER_MUTATION
    }
    read = _read(block)
    used = [source.of for index, source in zip(block.inputs, sources, strict=True)
            if source.kind == "buffer" and (index in read or source.of in updates)]  # fmt: skip
    graph = Graph(
        parameters=tuple(names.parameters),
        buffers=tuple(dict.fromkeys(used)),
        constants=constants,
        mutated=tuple(updates),
        block=Block(block.inputs, block.nodes, (*outputs, *updates.values())),
        sources=tuple(sources),
        outputs=pytree.tree_unflatten(outputs, program.call_spec.out_spec),
        updates=updates,
        prefix=strip.partition(".")[2],
    )
    return graph, reader.expected


def _is_output(spec: Any) -> bool:
    return bool(spec.kind == OutputKind.USER_OUTPUT)


def _mutations(signature: Any, names: _Names) -> Iterator[Refusal]:
    for spec in signature.output_specs:
        if spec.kind == OutputKind.PARAMETER_MUTATION:
            place = Place(layer=names.short(spec.target).rpartition(".")[0])
            yield Refusal(
                f"a change of the parameter {names.short(spec.target)}",
                "only the optimizer may change parameters; keep what changes in a buffer",
                place,
            )


def _host(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    values: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return values


def _read(block: Block) -> set[int]:
    """Numbers of all values that nodes or outputs read."""
    found: set[int] = set()

    class Seen(dict[int, Any]):
        def __missing__(self, index: int) -> None:
            found.add(index)

    for node in block.nodes:
        filled((node.args, dict(node.kwargs)), Seen())
    filled(block.outputs, Seen())
    return found


class _Names:
    """Names of parameters and buffers: without what was put in front of them, and of tied ones the first."""

    def __init__(self, module: nn.Module, strip: str) -> None:
        self._strip = strip.partition(".")[2]
        self._first: dict[str, str] = {}
        for listed in (module.named_parameters, module.named_buffers):
            firsts: dict[int, str] = {}
            for name, tensor in listed(remove_duplicate=False):
                self._first[name] = firsts.setdefault(id(tensor), name)
        self.parameters = [self._short(name) for name, _ in module.named_parameters()]

    def _short(self, name: str) -> str:
        return name.removeprefix(self._strip)

    def short(self, name: str) -> str:
        """A name or path in the wrapped module, as the user knows it."""
        inner = name.removeprefix("module.") if name != "module" else ""
        return self._short(inner) if f"{inner}." != self._strip else ""

    def first(self, name: str) -> str:
        """Likewise; of tied parameters or buffers the first name."""
        inner = name.removeprefix("module.")
        return self._short(self._first.get(inner, inner))


@dataclass
class _Reader:
    """Reads the graph of a program; all its values are numbered in one row."""

    names: _Names
    exempt: frozenset[str]
    expected: dict[int, Expected | tuple[Expected | None, ...]] = field(default_factory=dict)

    def block(self, module: fx.GraphModule) -> Block:
        index: dict[fx.Node, Any] = {}
        inputs: list[int] = []
        nodes: list[Node] = []
        outputs: tuple[Any, ...] = ()
        for number, node in enumerate(module.graph.nodes):
            if node.op == "output":
                given = _values(node.args[0], index.__getitem__)
                outputs = given if isinstance(given, tuple) else (given,)
            elif node.op == "get_attr":
                index[node] = None  # a branch of control flow, whose op is refused
            else:
                index[node] = Ref(number)
                self.expected[number] = _looks(node.meta.get("val"))
                if node.op == "placeholder":
                    inputs.append(number)
                else:
                    nodes.append(self.node(node, number, index))
        return Block(tuple(inputs), tuple(nodes), outputs)

    def node(self, node: fx.Node, number: int, index: Mapping[fx.Node, Any]) -> Node:
        args = _values(node.args, index.__getitem__)
        kwargs = {key: _values(value, index.__getitem__) for key, value in node.kwargs.items() if key not in _LEFT_OUT}
        looks = self.expected[number]
        dtype = looks.dtype if isinstance(looks, Expected) else None
        trace = node.meta.get("stack_trace") or ""
        stack = [entry[0] for entry in node.meta.get("nn_module_stack", {}).values()]
        place = Place(self.names.short(stack[-1]) if stack else "", own_line(trace))
        return Node(number, _name(node.target), args, kwargs, dtype, place, autocast=trace not in self.exempt)


def _values(value: Any, found: Callable[[fx.Node], Any]) -> Any:
    if isinstance(value, fx.Node):
        return found(value)
    if isinstance(value, (list, tuple)):
        return tuple(_values(inner, found) for inner in value)
    if isinstance(value, torch.dtype):
        return DType(str(value).removeprefix("torch."))
    if isinstance(value, (torch.device, torch.layout, torch.memory_format)):
        return None
    return value


def _looks(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Expected(tuple(_hint(size) for size in value.shape), str(value.dtype).removeprefix("torch."))
    if isinstance(value, (tuple, list)):
        return tuple(_looks(inner) for inner in value)
    return None


def _hint(size: Any) -> int | None:
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return None if hint is None or not math.isfinite(hint) else int(hint)
