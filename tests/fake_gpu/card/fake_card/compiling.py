"""``torch.compile`` for the cards: traced by Dynamo and AOTAutograd as for any card, then run op by op.

There is no Triton here. What TorchInductor reads of PyTorch's settings before it compiles is read, and where it would
replay CUDA graphs, their rule of memory holds: what a graph returned is overwritten when the next one begins
(torch/_inductor/cudagraph_trees.py).
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch

import fake_card

__all__ = ["install"]


class Replays:
    """The state of all graphs of the process."""

    def __init__(self) -> None:
        self.generation = -1
        self.backward_pending = False

    def begins(self) -> None:
        """A graph begins: the results of earlier ones are gone unless they belong to the same call of compiled code."""
        from torch._dynamo.mutation_guard import GenerationTracker

        now: int = GenerationTracker.generation
        if now != self.generation and not self.backward_pending:
            fake_card.native.fake_graph_begins()
            self.generation = now

    def ends(self, kind: str, given: list[Any], results: Any) -> None:
        """What it returns lies in memory of its own, but for what it was given."""
        from ctypes import c_void_p

        passed = {_memory(value) for value in given}
        for result in results:
            if isinstance(result, torch.Tensor) and (memory := _memory(result)) not in passed:
                fake_card.native.fake_graph_returns(c_void_p(memory))
        if kind != "inference":
            self.backward_pending = kind == "forward"


replays = Replays()


def _memory(value: Any) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else None


def _compiler(kind: str, search: bool, graphs: bool) -> Callable[..., Any]:
    def compiler(module: Any, inputs: Any) -> Any:
        _read_settings(module, search)

        def call(args: list[Any]) -> Any:
            given = list(args)
            args.clear()
            if not graphs:
                return module(*given)
            replays.begins()
            results = module(*given)
            replays.ends(kind, given, results)
            return results

        call._boxed_call = True
        return call

    return compiler


def _read_settings(module: Any, search: bool) -> None:
    """What TorchInductor asks: PyTorch raises where its old and its new switches for TF32 disagree."""
    aten, cuda = torch.ops.aten, torch.backends.cuda
    products = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
    in_float = any(node.target in products and node.meta["val"].dtype == torch.float32 for node in module.graph.nodes)
    if in_float and cuda.matmul.fp32_precision != "tf32" and torch.cuda.get_device_capability() >= (8, 0):
        said = "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled."
        warnings.warn(said, stacklevel=2)
    if search:
        torch.get_float32_matmul_precision()
        if torch.version.hip:
            _ = cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def install() -> None:
    """Compile for the cards here, and for the processor as before."""
    inductor: Any = torch._TorchCompileInductorWrapper
    plain = inductor.__call__

    def call(self: Any, module: Any, inputs: Any, **more: Any) -> Any:
        made = (node.meta.get("example_value") for node in module.graph.nodes)
        if not any(isinstance(value, torch.Tensor) and value.is_cuda for value in (*inputs, *made)):
            return plain(self, module, inputs, **more)
        from torch._dynamo.backends.common import aot_autograd

        how = bool(self.config.get("max_autotune")), bool(self.config.get("triton.cudagraphs"))
        kinds = {"fw_compiler": "forward", "bw_compiler": "backward", "inference_compiler": "inference"}
        backend: Any = aot_autograd(**{name: _compiler(kind, *how) for name, kind in kinds.items()})
        return backend(module, inputs)

    inductor.__call__ = call
