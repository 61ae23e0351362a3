"""From a torch.nn.Module to a graph, by torch.export."""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch._decomp import core_aten_decompositions
from torch.utils import _pytree as pytree

from hal.errors import HalError
from hal.torch.conversion import converted, missing_ops
from hal.torch.dry_run import dry_run
from hal.torch.export_errors import explained
from hal.torch.functions import noticed_functions
from hal.torch.graph import Graph
from hal.torch.places import own_error
from hal.torch.refusals import refused
from hal.torch.regions import dissolved_regions

__all__ = ["capture", "plain_outputs", "quiet"]

_WRAPPED = "module."
_ROUNDS = 5  # decompositions consist of ops that may need a decomposition in turn


def capture(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    training: bool,
    dynamic: bool = False,
    prefix: str = "",
) -> Graph:
    """Capture what a module computes for inputs like some examples.

    Args:
        module: is left as it was, its mode included.
        args: examples of its positional arguments, with a batch of at least 2 along the first axis; if ``dynamic``, of
            a size that is not the first one of any other input.
        kwargs: examples of those by name.
        training: in training mode, where dropout drops and batch norm updates its statistics, or not.
        dynamic: whether the graph takes batches of any size; else it is for batches of the examples' size.
        prefix: is removed from the names of parameters and buffers and from the paths of layers.

    Raises:
        UnsupportedError: it cannot be captured or translated. The message lists all that is in the way, each with the
            path of the layer and the user's own file and line.
        RequestError: the module itself raises an error for these inputs; the message shows the user's traceback.
    """
    strip = _WRAPPED + prefix
    wrapped = _Plain(module)
    with _mode(module, training), quiet(), noticed_functions() as functions:
        examples = _cloned(args), _cloned(dict(kwargs))
        shapes = _dynamic_shapes(*examples) if dynamic else None
        try:
            program = torch.export.export(wrapped, examples, dynamic_shapes=shapes, strict=False)
        except HalError:
            raise
        except Exception as error:
            _run_itself(module, args, kwargs)
            raise refused([explained(error)]) from error
        if training and functions:
            raise refused(functions)
        exempt = dissolved_regions(program)
        program = _decomposed(program)
    graph, expected = converted(program, module, strip, exempt)
    # Who counts costs or notes gradients now, as what is captured begins to run, has nothing to do with these ops.
    refusals = contextvars.Context().run(dry_run, graph, expected)
    if refusals:
        raise refused(refusals)
    return graph


class _Plain(nn.Module):
    """A module whose outputs are tuples, lists and dicts of tensors and numbers."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return plain_outputs(self.module(*args, **kwargs))


_LEFT_OUT = object()


def plain_outputs(value: Any) -> Any:
    """Outputs without what is no tensor, number or tree of them, such as the cache of a language model."""
    if isinstance(value, Mapping):
        items = {name: plain_outputs(inner) for name, inner in value.items()}
        return {name: inner for name, inner in items.items() if inner is not _LEFT_OUT}
    if isinstance(value, (tuple, list)):
        kept = [inner for inner in map(plain_outputs, value) if inner is not _LEFT_OUT]
        return kept if isinstance(value, list) else tuple(kept)
    return value if value is None or isinstance(value, (torch.Tensor, bool, int, float, str)) else _LEFT_OUT


def _cloned(tree: Any) -> Any:
    """Own tensors, for one that is given twice would be taken for one input."""
    return pytree.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf, tree)


def _dynamic_shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """One symbolic size for the batch: the first axis of each tensor that has the first one's size there."""
    batch = torch.export.Dim("batch", min=2)
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.ndim]
    size = tensors[0].shape[0] if tensors else None

    def of(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return None
        return {0: batch} if leaf.ndim and leaf.shape[0] == size else {}

    return pytree.tree_map(of, args), pytree.tree_map(of, kwargs)


def _run_itself(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Tell an error of the module's own code from one of the capture, by running the module as it is."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        with torch.no_grad():
            torch.func.functional_call(module, buffers, _cloned(args), _cloned(dict(kwargs)))
    except Exception as error:
        raise own_error(error, "Calling the module") from error


def _decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Functional ops; those that the table lacks are replaced by PyTorch's own decomposition of them, and no others."""
    program = program.run_decompositions({})
    known: dict[Any, Any] = {}
    for _ in range(_ROUNDS):
        lacking = missing_ops(program)
        if not lacking:
            break
        known = known or dict(core_aten_decompositions())
        found = {target: known[target] for target in lacking if target in known}
        if not found:
            break
        program = program.run_decompositions(found)
    return program


@contextlib.contextmanager
def _mode(module: nn.Module, training: bool) -> Iterator[None]:
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, was in before.items():
            part.training = was


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what PyTorch prints and warns of while it captures: users get one message, hal's."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
