"""What the CUDA backend decides, as pure functions of the installed PyTorch, the machine and the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hal.backends._torch.architectures import Architecture, load, nearest
from hal.backends._torch.build import Build, Properties
from hal.backends.cuda.host import Host
from hal.contract import Available, Unavailable
from hal.contract.device import Device

__all__ = ["architecture", "availability", "describe", "mig_profile", "serves"]

VENDOR = "NVIDIA"
_TUNED_FROM = 68
"""Multiprocessors from which TorchInductor tunes matrix products (``torch._inductor.utils.is_big_gpu``)."""
_SMALL = f"tunes no matrix products, which needs {_TUNED_FROM} multiprocessors"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_INSTALL = "install a CUDA build of torch: see pytorch.org, Get Started, platform CUDA"
_INSTALL_THERE = f"on a machine with an NVIDIA GPU, {_INSTALL}"


def availability(build: Build | None, host: Host, environ: Mapping[str, str]) -> Available | Unavailable:
    """Whether NVIDIA GPUs can be used, or what is installed, what is missing and which step fixes it."""
    seen = _seen(host)
    install = _INSTALL if host.cards else _INSTALL_THERE
    if build is None:
        return Unavailable(f"torch is not installed; {seen}", install)
    if build.broken:
        return Unavailable(f"{build.detail} is installed but cannot be imported: {build.broken}", "reinstall torch")
    if build.hip is not None:
        return Unavailable(
            f"your torch is built for AMD ({build.detail}, HIP {build.hip}) and cannot drive NVIDIA GPUs; {seen}",
            f"use backend=rocm, or {install}",
        )
    if build.cuda is None:
        return Unavailable(f"{build.detail} is built without CUDA; {seen}", install)
    if not build.devices:
        return _nothing_visible(build, host, environ)
    if not any(serves(build.archs, device) for device in build.devices):
        first = build.devices[0]
        return Unavailable(_no_kernels(build, first), _other_build(first))
    return Available(f"{build.detail}, CUDA {build.cuda}" + (f", driver {host.driver}" if host.driver else ""))


def describe(build: Build, host: Host) -> list[Device]:
    """The devices that PyTorch sees, in its order; one without kernels supports no precision and says why."""
    return [_device(build, host, index, found) for index, found in enumerate(build.devices)]


def architecture(found: Properties) -> Architecture:
    """The row of the table for a card, or the nearest lower one with a note."""
    return nearest(f"{found.major}.{found.minor}", load("hal.backends.cuda"), _order)


def serves(archs: tuple[str, ...], found: Properties) -> bool:
    """Whether a build with these architectures has kernels for a card.

    Machine code (``sm_XY``) runs on later minor versions of its major version, but embedded and other cards do not run
    each other's; architecture-specific code (``sm_90a``) runs on its own version alone; PTX (``compute_XY``) runs on
    anything later (CUDA C++ programming guide, binary and PTX compatibility). An empty list says nothing.
    """
    return not archs or any(_runs(arch, found) for arch in archs)


def mig_profile(name: str) -> str:
    """The profile of a MIG slice, for example ``1g.10gb``; empty for a whole card.

    >>> mig_profile("NVIDIA A100-SXM4-80GB MIG 1g.10gb")
    '1g.10gb'
    """
    found = re.search(r" MIG (\S+)$", name)
    return found.group(1) if found else ""


def _device(build: Build, host: Host, index: int, found: Properties) -> Device:
    row = architecture(found)
    facts = {"architecture": row.name, "compute_capability": row.key, "runtime": f"CUDA {build.cuda}"}
    optional = {
        "driver": host.driver,
        "mig": mig_profile(found.name),
        "fp8": row.fp8,
        "memory": "shared with the host" if found.integrated else "",
        "compile=max": _SMALL if "max" in row.compile and found.multi_processor_count < _TUNED_FROM else "",
    }
    facts.update({key: value for key, value in optional.items() if value})
    if not serves(build.archs, found):
        row = row.without_kernels(_no_kernels(build, found))
    return Device(
        backend="cuda",
        index=index,
        vendor=VENDOR,
        name=found.name,
        arch=_sm(found),
        memory_bytes=found.total_memory,
        compute_units=found.multi_processor_count,
        capabilities=row.capabilities(reserves_addresses=True, spread=_alike(build, found)),
        facts=facts,
    )


def _nothing_visible(build: Build, host: Host, environ: Mapping[str, str]) -> Unavailable:
    said = f" (its message: {build.failure})" if build.failure else ""
    have = f"{build.detail} for CUDA {build.cuda} is installed"
    if not host.has_driver:
        return Unavailable(
            f"{have}, but no NVIDIA driver is loaded; {_seen(host)}{said}",
            "install the NVIDIA driver; in a container, start it with access to the GPUs (docker run --gpus all)",
        )
    if host.cuda is not None and host.cuda[0] < int(build.cuda.split(".")[0] if build.cuda else 0):
        served = ".".join(map(str, host.cuda))
        return Unavailable(
            f"{have}, but the NVIDIA driver {host.driver} supports CUDA {served} at most{said}",
            f"update the NVIDIA driver to one that supports CUDA {build.cuda}",
        )
    if _VISIBLE in environ:
        return Unavailable(
            f"{have}, but {_VISIBLE}='{environ[_VISIBLE]}' leaves no GPU visible; {_seen(host)}", f"unset {_VISIBLE}"
        )
    return Unavailable(f"{have}, but its runtime sees no device; {_seen(host)}{said}", "run: nvidia-smi")


def _no_kernels(build: Build, found: Properties) -> str:
    return f"{build.detail} has no kernels for {found.name} ({_sm(found)}), only for {', '.join(build.archs)}"


def _other_build(found: Properties) -> str:
    row = architecture(found)
    if _embedded(row.key):
        return f"install NVIDIA's build of torch for {row.cards[0]}"
    if _order(row.key) < (7, 5):
        return f"install a build of torch for CUDA 12.6, the last that has {_sm(found)}: see pytorch.org, Get Started"
    return f"install a build of torch that has {_sm(found)}: see pytorch.org, Get Started, platform CUDA"


def _seen(host: Host) -> str:
    if not host.cards:
        return "no NVIDIA GPU was found"
    names = sorted(set(host.cards))
    first = names[0] if names[0].startswith(VENDOR) else f"{VENDOR} {'GPU' if names[0] == 'card' else names[0]}"
    more = f" (and {len(host.cards) - 1} more)" if len(host.cards) > 1 else ""
    return f"an {first} was found{more}"


def _alike(build: Build, found: Properties) -> int:
    """How many cards are like one; a slice of a card can take part in no exchange between processes."""
    same = sum((each.name, _sm(each)) == (found.name, _sm(found)) for each in build.devices)
    return 1 if mig_profile(found.name) else same


def _sm(found: Properties) -> str:
    return f"sm_{found.major}{found.minor}"


def _order(key: str) -> tuple[int, ...]:
    return tuple(int(part) for part in key.split("."))


def _runs(arch: str, found: Properties) -> bool:
    parsed = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if not parsed:
        return False
    kind, major, minor, suffix = parsed[1], int(parsed[2]), int(parsed[3]), parsed[4]
    card = (found.major, found.minor)
    if suffix == "a" or card == (major, minor):
        return card == (major, minor)
    if kind == "compute":
        return card > (major, minor)
    same_kind = _embedded(f"{major}.{minor}") == _embedded(f"{found.major}.{found.minor}")
    return same_kind and major == found.major and minor < found.minor


def _embedded(key: str) -> bool:
    row = load("hal.backends.cuda").get(key)
    return bool(row and row.extra.get("embedded"))
