"""The memory rules of CUDA graphs, on the CPU: where a compiled function replays graphs, its results do not last.

PyTorch (``torch._inductor.cudagraph_trees``) hands out the memory of a graph's results again when another compiled call
begins and no backward pass is pending. A GPU build raises where such a result is used afterwards. Here it becomes NaN.
"""

import functools
import weakref

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.mutation_guard import GenerationTracker


class GraphRules:
    """Stands for TorchInductor: runs graphs as they are, and keeps or breaks their results as the mode says.

    Attributes:
        graphs: how many graphs Dynamo made.
        overwritten: how many results were in memory that was handed out again.
    """

    def __init__(self):
        self.graphs = self.overwritten = 0
        self._compile, self._results, self._call, self._pending = torch.compile, [], None, False
        self._plain = self._backend(replays=False)
        self._replaying = self._backend(replays=True)

    def compile(self, fn, *, mode=None, options=None, **more):
        """What replaces ``torch.compile``."""
        settings = {**(torch._inductor.list_mode_options(mode) if mode else {}), **(options or {})}
        replays = settings.get("triton.cudagraphs", False)
        return self._compile(fn, backend=self._replaying if replays else self._plain, **more)

    def _backend(self, replays):
        made = {f"{kind}_compiler": functools.partial(self._graph, kind, replays) for kind in ("fw", "bw", "inference")}
        return aot_autograd(**made)

    def _graph(self, kind, replays, module, _inputs):
        self.graphs += kind != "bw"

        def run(args):
            given = list(args)
            args.clear()
            return self._replay(kind, module, given) if replays else module(*given)

        run._boxed_call = True
        return run

    def _replay(self, kind, module, given):
        call = GenerationTracker.generation
        if call != self._call and not self._pending:
            self._overwrite()
            self._call = call
        storages = {x.untyped_storage()._cdata for x in given if isinstance(x, torch.Tensor)}
        results = module(*given)
        own = [x for x in results if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in storages]
        self._results += map(weakref.ref, own)
        if kind != "inference":
            self._pending = kind == "fw"
        return results

    def _overwrite(self):
        for result in [reference() for reference in self._results]:
            if result is not None:
                self.overwritten += 1
                result.detach().fill_(float("nan") if result.is_floating_point() else 0)
        self._results = []
