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


def accelerator_loads(device: torch.device) -> tuple[Load, ...]:
    """Products in int8 and fp8, and copies of page-locked memory; those that this build and device can run.

    Each kernel is tried once, because whether it is there depends on the build, the device and the library.
    """
    found: list[Load] = []
    for name, make in (("int8", _int8), ("fp8", _fp8)):
        with contextlib.suppress(RuntimeError, AttributeError, TypeError, NotImplementedError):
            run = make(device)
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


def _fp8(device: torch.device) -> Callable[[], object]:
    # AMD's first cards with fp8 have a format of their own.
    kind = torch.float8_e4m3fnuz if "gfx942" in _architecture(device) else torch.float8_e4m3fn
    a = torch.randn(_SIZE, _SIZE, device=device).to(kind)
    b = torch.randn(_SIZE, _SIZE, device=device).to(kind).t()
    one = torch.ones((), device=device)
    kernels: Any = torch
    return lambda: kernels._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def _architecture(device: torch.device) -> str:
    return getattr(torch.cuda.get_device_properties(device), "gcnArchName", "")
