"""Regions of a module with gradients or torch.autocast switched off, which PyTorch's decomposition would dissolve."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

__all__ = ["marked_regions"]


def marked_regions(program: ExportedProgram) -> frozenset[str]:
    """Detach what regions without gradients give, in place, and find the ops that torch.autocast leaves alone.

    Args:
        program: as torch.export gives it, before its decomposition.

    Returns:
        The stack traces of those ops.
    """
    exempt: set[str] = set()
    for part in list(program.graph_module.modules()):
        for node in list(part.graph.nodes) if isinstance(part, fx.GraphModule) else ():
            name = str(node.target) if node.op == "call_function" else ""
            if name == "wrap_with_set_grad_enabled" and node.args[0] is False:
                _detach_outputs(getattr(part, node.args[1].target))
            elif name == "wrap_with_autocast" and node.args[2] is False:
                inner = getattr(part, node.args[4].target)
                exempt |= {each.meta["stack_trace"] for each in inner.graph.nodes if each.meta.get("stack_trace")}
    return frozenset(exempt)


def _detach_outputs(region: fx.GraphModule) -> None:
    output = next(node for node in region.graph.nodes if node.op == "output")

    def detached(value: Any) -> Any:
        found = region.graph.call_function(torch.ops.aten.detach.default, (value,))
        found.meta = dict(value.meta)
        return found

    with region.graph.inserting_before(output):
        output.args = fx.map_arg(output.args, detached)
    region.recompile()
