"""Compiled functions, by TorchInductor."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import optree
import torch

from hal.backends._torch.ops import keep_out_of_graphs
from hal.tensor.random import Key

__all__ = ["MODES", "compiled", "quietly", "seeded"]


@contextlib.contextmanager
def seeded(seed: int, devices: Iterable[torch.device]) -> Iterator[None]:
    """Seed PyTorch's own generators within, not by ``torch.manual_seed``.

    That takes a traceback for each kind of accelerator that is not initialized, and keeps it.
    """
    with contextlib.ExitStack() as restored:
        restored.callback(torch.default_generator.set_state, torch.default_generator.get_state())
        torch.default_generator.manual_seed(seed)
        for device in devices:
            kind: Any = torch.get_device_module(device)
            restored.callback(kind.set_rng_state, kind.get_rng_state(device), device)
            # Not every kind has a list of its default generators.
            kind.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), device)
        yield


MODES = {"default": "default", "max": "max-autotune-no-cudagraphs"}
"""PyTorch's word for each value of the plan key ``compile`` that compiles.

Not ``max-autotune``: on GPUs that replays CUDA graphs, in which the results of a call lie in memory that the next call
writes again. Steps and evaluations keep results longer than that: sums, gradients of several parts, batch statistics.
"""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Search for the fastest kernels without a table of each search on the terminal."""
    from torch._inductor import config, select_algorithm

    search: Any = select_algorithm
    before = getattr(search, "PRINT_AUTOTUNE", None)  # no public name; should it go, the tables come back
    try:
        search.PRINT_AUTOTUNE = False
        with config.patch(max_autotune_report_choices_stats=False):
            yield
    finally:
        search.PRINT_AUTOTUNE = before


def compiled(fn: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """Compile a function.

    Args:
        fn: pure, of trees of tensors and keys.
        mode: a value of the plan key ``compile`` other than eager.
    """
    keep_out_of_graphs()
    graph = torch.compile(fn, mode=MODES[mode], dynamic=False)

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        # A compiled graph cannot seed a generator: it draws from PyTorch's own, seeded here and restored.
        keys = [a for a in args if isinstance(a, Key) and a.seed is not None]
        if not keys:  # or somebody seeded it already
            return graph(*args)
        leaves: list[Any] = optree.tree_leaves(args)  # type: ignore[arg-type]
        used = {leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)}
        with seeded(keys[0].seed or 0, [device for device in used if device.type != "cpu"]):
            return graph(*(replace(a, seed=None) if isinstance(a, Key) else a for a in args))

    return call
