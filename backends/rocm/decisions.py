"""What the ROCm backend decides, as pure functions of the installed PyTorch, the machine and the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hal.backends._torch.architectures import Architecture, load, nearest
from hal.backends._torch.build import Build, Properties
from hal.backends.rocm.host import Host
from hal.contract import Available, Unavailable
from hal.contract.device import Device

__all__ = ["architecture", "availability", "describe", "gfx", "serves"]

VENDOR = "AMD"
_OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
_VISIBLE = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
_INSTALL = "install a ROCm build of torch: see pytorch.org, Get Started, platform ROCm"
_INSTALL_THERE = f"on a machine with an AMD GPU, {_INSTALL}"


def availability(build: Build | None, host: Host, environ: Mapping[str, str]) -> Available | Unavailable:
    """Whether AMD GPUs can be used, or what is installed, what is missing and which step fixes it."""
    seen, but = _seen(host), "but" if host.cards else "and"
    install = _INSTALL if host.cards else _INSTALL_THERE
    if build is None:
        return Unavailable(f"{seen}, {but} torch is not installed", install)
    if build.broken:
        return Unavailable(f"{build.detail} is installed but cannot be imported: {build.broken}", "reinstall torch")
    if build.cuda is not None:
        return Unavailable(
            f"{seen}; your torch is built for NVIDIA ({build.detail}, CUDA {build.cuda}) and cannot drive AMD GPUs",
            f"use backend=cuda, or {install}",
        )
    if build.hip is None:
        return Unavailable(f"{seen}, {but} {build.detail} is not a ROCm build", install)
    if not build.devices:
        return _nothing_visible(build, host, environ)
    if not any(serves(build.archs, device) for device in build.devices):
        first = build.devices[0]
        return Unavailable(_no_kernels(build, first), _other_build(first, environ))
    return Available(f"{build.detail}, HIP {build.hip}")


def describe(build: Build, environ: Mapping[str, str]) -> list[Device]:
    """The devices that PyTorch sees, in its order; one without kernels supports no precision and says why."""
    return [_device(build, environ, index, found) for index, found in enumerate(build.devices)]


def gfx(found: Properties) -> str:
    """The LLVM target of a card, without feature flags such as ``:sramecc+:xnack-``."""
    return found.arch_name.partition(":")[0]


def architecture(found: Properties) -> Architecture:
    """The row of the table for a card, or the nearest lower one with a note."""
    return nearest(gfx(found), load("hal.backends.rocm"), _order)


def serves(archs: tuple[str, ...], found: Properties) -> bool:
    """Whether a build with these architectures has kernels for a card; an empty list says nothing.

    Code runs on its own target or, where it is compiled for one of LLVM's generic targets, on the target's group.
    """
    names = {arch.partition(":")[0] for arch in archs}
    row = load("hal.backends.rocm").get(gfx(found))
    return not names or gfx(found) in names or bool(row and row.extra.get("generic") in names)


def _device(build: Build, environ: Mapping[str, str], index: int, found: Properties) -> Device:
    row = architecture(found)
    facts = {"architecture": row.name, "runtime": f"HIP {build.hip}", "wavefront": str(row.extra["wavefront"])}
    optional = {
        "features": found.arch_name.partition(":")[2],
        "fp8": row.fp8,
        "memory": "shared with the host" if found.integrated else "",
        "overridden": f"{_OVERRIDE}={environ[_OVERRIDE]}: the GPU may be a different one"
        if _OVERRIDE in environ
        else "",
        "compile=max": "tunes no matrix products on RDNA 2" if "max" in row.compile and _is_gfx10(found) else "",
    }
    facts.update({key: value for key, value in optional.items() if value})
    if not serves(build.archs, found):
        row = row.without_kernels(_no_kernels(build, found))
    return Device(
        backend="rocm",
        index=index,
        vendor=VENDOR,
        name=found.name,
        arch=gfx(found),
        memory_bytes=found.total_memory,
        compute_units=found.multi_processor_count,
        capabilities=row.capabilities(reserves_addresses=True, spread=_alike(build, found)),
        facts=facts,
    )


def _nothing_visible(build: Build, host: Host, environ: Mapping[str, str]) -> Unavailable:
    said = f" (its message: {build.failure})" if build.failure else ""
    have = f"{build.detail} for HIP {build.hip} is installed, but"
    if host.kfd == "absent":
        return Unavailable(
            f"{have} /dev/kfd is absent: no amdgpu driver is loaded, or the container hides it; {_seen(host)}",
            "load the driver: sudo modprobe amdgpu; in a container, start it with --device=/dev/kfd --device=/dev/dri",
        )
    if host.kfd == "denied":
        return Unavailable(
            f"{have} this user is not allowed to open /dev/kfd; {_seen(host)}",
            "join the groups that are allowed to: sudo usermod -aG render,video $USER, then log in again",
        )
    hiding = [name for name in _VISIBLE if name in environ]
    values = " and ".join(f"{name}='{environ[name]}'" for name in hiding)
    if {"HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"} <= set(hiding):
        return Unavailable(
            f"{have} {values} together leave no GPU visible, because the former selects among those that the "
            f"latter leaves; "
            f"{_seen(host)}",
            "unset ROCR_VISIBLE_DEVICES",
        )
    if hiding:
        leaves = "leaves" if len(hiding) == 1 else "leave"
        return Unavailable(f"{have} {values} {leaves} no GPU visible; {_seen(host)}", f"unset {' '.join(hiding)}")
    return Unavailable(f"{have} its runtime sees no device; {_seen(host)}{said}", "run: rocminfo")


def _no_kernels(build: Build, found: Properties) -> str:
    return f"{build.detail} has no kernels for {found.name} ({gfx(found)}), only for {', '.join(build.archs)}"


def _other_build(found: Properties, environ: Mapping[str, str]) -> str:
    row = architecture(found)
    if _OVERRIDE in environ:
        return f"unset {_OVERRIDE}, which is {environ[_OVERRIDE]}: it changes which architecture the GPU reports"
    official = "see pytorch.org, Get Started, platform ROCm"
    community = "the official wheels of PyTorch do not include it"
    step = f"install a build of torch that has {gfx(found)}: {official if row.extra['official_wheels'] else community}"
    if "override" in row.extra:
        return f"{step}; unofficially, {_OVERRIDE}={row.extra['override']} runs a related GPU's kernels on this one"
    if _order(gfx(found)) >= (11,):
        return f"{step}; do not set {_OVERRIDE}, which does harm on this GPU"
    return step


def _is_gfx10(found: Properties) -> bool:
    """Whether TorchInductor leaves matrix products to the library (``torch._inductor.utils.is_big_gpu``)."""
    return _order(gfx(found))[0] == 10


def _alike(build: Build, found: Properties) -> int:
    """How many cards are like one."""
    return sum((each.name, gfx(each)) == (found.name, gfx(found)) for each in build.devices)


def _seen(host: Host) -> str:
    if not host.cards:
        return f"no {VENDOR} GPU was found"
    more = f" (and {len(host.cards) - 1} more)" if len(host.cards) > 1 else ""
    first = next(iter(host.cards))
    return f"an {VENDOR}{' GPU' if first == 'card' else f' {first} GPU'} was found{more}"


def _order(name: str) -> tuple[int, ...]:
    """Major, minor and stepping of a target; the last two are one hexadecimal digit each."""
    parsed = re.fullmatch(r"gfx(\d+)([0-9a-f])([0-9a-f])", name)
    return (int(parsed[1]), int(parsed[2], 16), int(parsed[3], 16)) if parsed else (0,)
