"""Regions of a module with gradients or torch.autocast switched off, which torch.export keeps as graphs of their own.

They are dissolved here, since PyTorch's decomposition does so too, but forgets what they were for and where they stood.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

__all__ = ["dissolved_regions"]

_GRADIENTS, _AUTOCAST = "wrap_with_set_grad_enabled", "wrap_with_autocast"


def dissolved_regions(program: ExportedProgram) -> frozenset[str]:
    """Put the ops of such regions into the graph around them, in place; without gradients their results are constants.

    Args:
        program: as torch.export gives it, before its decomposition.

    Returns:
        The stack traces of the ops that torch.autocast leaves alone.
    """
    exempt: set[str] = set()
    _dissolve(program.graph_module, exempt)
    return frozenset(exempt)


def _dissolve(module: fx.GraphModule, exempt: set[str]) -> None:
    graph = module.graph
    for node in list(graph.nodes):
        name = str(node.target) if node.op == "call_function" else ""
        if name not in (_GRADIENTS, _AUTOCAST):
            continue
        place = 1 if name == _GRADIENTS else 4  # its settings, then the region, then what the region is given
        region: fx.GraphModule = getattr(module, node.args[place].target)
        _dissolve(region, exempt)
        if name == _AUTOCAST and node.args[2] is False:
            exempt |= {each.meta["stack_trace"] for each in region.graph.nodes if each.meta.get("stack_trace")}
        given = zip(region.graph.find_nodes(op="placeholder"), node.args[place + 1 :], strict=True)
        with graph.inserting_before(node):
            outputs: Any = graph.graph_copy(region.graph, dict(given))
            if name == _GRADIENTS and node.args[0] is False:
                outputs = tuple(_detached(graph, value) for value in outputs)
        for user in list(node.users):  # each takes one of the outputs
            user.replace_all_uses_with(outputs[user.args[1]])
            graph.erase_node(user)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    module.recompile()


def _detached(graph: fx.Graph, value: Any) -> Any:
    if not isinstance(value, fx.Node):
        return value
    found = graph.call_function(torch.ops.aten.detach.default, (value,))
    found.meta = dict(value.meta)
    return found
