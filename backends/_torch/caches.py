"""What PyTorch keeps of functions that were compiled, and how to make it let go."""

from __future__ import annotations

import gc
import sys

__all__ = ["forget_compiled"]


def forget_compiled() -> None:
    """Drop compiled code, of which PyTorch keeps a limited number for each function, and what only it held."""
    compiler = sys.modules.get("torch._dynamo")
    if compiler is not None:
        compiler.reset()
    gc.collect()
