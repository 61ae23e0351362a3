"""Work on PyTorch's accelerators that hal's neutral API has no words for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from hal.contract.counters import Load

__all__ = ["accelerator_loads"]

_SIZE = 8192
_COPY_BYTES = 2**28


def accelerator_loads(device: torch.device, fp8: str) -> tuple[Load, ...]:
    """Products in int8 and fp8, and copies of page-locked memory; those that this build and device can run.

    Each kernel is tried once, because whether it is there depends on the build, the device and the library.

    Args:
        device: what is measured.
        fp8: the 8-bit float format of its units, such as ``e4m3fn, largest value 448``; empty where it has none.
    """
    found: list[Load] = []
    products: dict[str, Callable[[], Callable[[], object]]] = {"int8": lambda: _int8(device)}
    if fp8:
        products["fp8"] = lambda: _fp8(device, fp8)
    for name, make in products.items():
        with contextlib.suppress(RuntimeError, AttributeError, TypeError, NotImplementedError):
            run = make()
            run()
            torch.accelerator.synchronize(device)
            found.append(Load(name, run, flops=2.0 * _SIZE**3))
    with contextlib.suppress(RuntimeError):
        host = torch.empty(_COPY_BYTES, dtype=torch.uint8, pin_memory=True)
        there = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
        found.append(Load("to device, pinned", lambda: there.copy_(host, non_blocking=True), bytes=_COPY_BYTES))
        found.append(Load("from device, pinned", lambda: host.copy_(there, non_blocking=True), bytes=_COPY_BYTES))
    return tuple(found)


def _int8(device: torch.device) -> Callable[[], object]:
    a = torch.randint(-100, 100, (_SIZE, _SIZE), dtype=torch.int8, device=device)
    b = torch.randint(-100, 100, (_SIZE, _SIZE), dtype=torch.int8, device=device).t()
    kernels: Any = torch  # whose types leave it out
    return lambda: kernels._int_mm(a, b)


def _fp8(device: torch.device, units: str) -> Callable[[], object]:
    kind = getattr(torch, f"float8_{units.partition(',')[0]}")
    a = torch.randn(_SIZE, _SIZE, device=device).to(kind)
    b = torch.randn(_SIZE, _SIZE, device=device).to(kind).t()
    one = torch.ones((), device=device)
    kernels: Any = torch
    return lambda: kernels._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
