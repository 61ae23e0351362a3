"""What the MPS backend decides, as pure functions of the installed PyTorch, the machine and the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from hal.backends._torch.architectures import Architecture, load, nearest
from hal.backends._torch.build import Build
from hal.backends._torch.fallback import refuse_fallback
from hal.backends.mps.host import Gpu, Host
from hal.contract import Available, Unavailable
from hal.contract.device import Device, Precision

__all__ = ["LACKS", "architecture", "availability", "describe"]

VENDOR = "Apple"
LACKS = "64-bit floating point, a count of peak memory, counters of power and temperature, dp and fsdp"
"""What these devices do not have, in PyTorch or at all."""
_FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
_BF16_SINCE = 14
"""The first macOS whose Metal computes in bf16."""


def availability(build: Build | None, host: Host, gpu: Gpu, environ: Mapping[str, str]) -> Available | Unavailable:
    """Whether the Apple GPU can be used, or what is missing and which step fixes it."""
    if host.system != "Darwin":
        return Unavailable(
            "PyTorch drives Apple GPUs through Metal, which only macOS has",
            "on a Mac with an Apple chip, install torch: see pytorch.org, Get Started, platform Mac",
        )
    if host.machine != "arm64":
        return Unavailable(
            f"this Python was built for {host.machine}, and hal supports only Macs with an Apple chip",
            "on such a Mac, install Python and torch for arm64, which do not run under Rosetta",
        )
    if build is None:
        return Unavailable("torch is not installed", "install torch: see pytorch.org, Get Started, platform Mac")
    if build.broken:
        return Unavailable(f"{build.detail} is installed but cannot be imported: {build.broken}", "reinstall torch")
    if not gpu.available:
        return _no_device(build, host, gpu)
    return refuse_fallback(_FALLBACK, environ) or Available(f"{build.detail}, Metal on macOS {host.macos}")


def describe(host: Host, gpu: Gpu) -> Device:
    """The GPU as the one device."""
    chip = gpu.name or host.processor or VENDOR
    row = architecture(chip)
    if host.release < _BF16_SINCE:
        old = Precision(False, note=f"needs macOS {_BF16_SINCE}; this is macOS {host.macos}")
        row = replace(row, precisions={**row.precisions, "bf16": old})
    return Device(
        backend="mps",
        index=0,
        vendor=VENDOR,
        name=f"{chip} GPU",  # the processor has the chip's name
        arch=row.key,
        memory_bytes=gpu.memory_bytes,
        compute_units=gpu.cores,
        capabilities=row.capabilities(parallel=()),
        facts={
            "architecture": row.name,
            "runtime": f"Metal on macOS {host.macos}",
            "memory": "shared with the host",
            "compile=default": "a prototype in PyTorch",
            "lacks": LACKS,
        },
    )


def architecture(name: str) -> Architecture:
    """The row of the table for a chip, or the nearest lower one with a note.

    Args:
        name: as Metal says it, for example ``Apple M1 Pro``; a virtual machine has a name without a generation.
    """
    found = re.search(r"\bM(\d+)\b", name)
    return nearest(f"apple-m{found[1]}" if found else "apple-gpu", load("hal.backends.mps"), _order)


def _no_device(build: Build, host: Host, gpu: Gpu) -> Unavailable:
    said = f" (its message: {gpu.failure})" if gpu.failure else ""
    if not gpu.built and not said:
        return Unavailable(
            f"{build.detail} is built without Metal", "install torch: see pytorch.org, Get Started, platform Mac"
        )
    return Unavailable(
        f"{build.detail} is built for Metal, but macOS {host.macos} gives it no device{said}",
        "update macOS; a virtual machine shows a GPU only if its host passes one on",
    )


def _order(key: str) -> tuple[int, ...]:
    found = re.fullmatch(r"apple-m(\d+)", key)
    return (int(found[1]),) if found else (0,)
