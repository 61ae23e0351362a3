"""What the XPU backend decides, as pure functions of the installed PyTorch, the machine and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hal.backends._torch.architectures import Architecture, load, nearest
from hal.backends._torch.build import Build
from hal.backends._torch.fallback import refuse_fallback
from hal.backends.xpu.host import Host
from hal.backends.xpu.runtime import Properties, Runtime
from hal.contract import Available, Unavailable
from hal.contract.device import Device, Precision, PrecisionName

__all__ = ["architecture", "availability", "describe", "release"]

VENDOR = "Intel"
_VISIBLE = ("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR")
_FALLBACK = "PYTORCH_ENABLE_XPU_FALLBACK"
_INSTALL = "install an XPU build of torch: see pytorch.org, Get Started, platform XPU"
_INSTALL_THERE = f"on a machine with an Intel GPU, {_INSTALL}"
_TUNED_FROM = 16
"""Xe cores from which TorchInductor tunes matrix products (``torch._inductor.utils.is_big_gpu``)."""
_NO_XMX = "no XMX units: computed by the vector units"


def availability(
    build: Build | None, runtime: Runtime, host: Host, environ: Mapping[str, str]
) -> Available | Unavailable:
    """Whether Intel GPUs can be used, or what is installed, what is missing and which step fixes it."""
    seen, install = _seen(host), _INSTALL if host.cards else _INSTALL_THERE
    but = "but" if host.cards else "and"
    if build is None:
        return Unavailable(f"{seen}, {but} torch is not installed", install)
    if build.broken:
        return Unavailable(f"{build.detail} is installed but cannot be imported: {build.broken}", "reinstall torch")
    if runtime.version is None:
        return Unavailable(f"{seen}, {but} {build.detail} is not an XPU build", install)
    if not runtime.devices:
        return _nothing_visible(build, runtime, host, environ)
    here = Available(f"{build.detail}, XPU {runtime.version}, driver {runtime.devices[0].driver_version}")
    return refuse_fallback(_FALLBACK, environ) or here


def describe(runtime: Runtime) -> list[Device]:
    """The devices that PyTorch sees, in its order; of a card in two stacks each is a device."""
    return [_device(runtime, index, found) for index, found in enumerate(runtime.devices)]


def release(found: Properties) -> str:
    """The release of the graphics IP, for example ``12.60``; ``0.0`` where the runtime does not tell."""
    ip = (found.architecture >> 8) & 0xFFFFFFFF
    return f"{ip >> 22}.{ip >> 14 & 0xFF}"


def architecture(found: Properties) -> Architecture:
    """The row of the table for a device with what the driver says of it, or the nearest lower one with a note."""
    row = nearest(release(found), load("hal.backends.xpu"), _order)
    changed: dict[PrecisionName, Precision] = {}
    if not found.has_subgroup_matrix_multiply_accumulate:
        changed["bf16"] = replace(row.precisions["bf16"], accelerated=False, note=_NO_XMX)
        changed["fp16"] = replace(row.precisions["fp16"], accelerated=False, note=_NO_XMX)
        changed["tf32"] = Precision(False, note="needs XMX units")
    elif not found.has_bfloat16_conversions:
        changed["bf16"] = replace(row.precisions["bf16"], accelerated=False, note="computed by conversion to fp32")
    if not found.has_fp16:
        changed["fp16"] = Precision(False, note="the driver does not offer it")
    return replace(row, precisions={**row.precisions, **changed})


def _device(runtime: Runtime, index: int, found: Properties) -> Device:
    row = architecture(found)
    facts = {"architecture": row.name, "runtime": f"XPU {runtime.version}"}
    small = 0 < found.gpu_subslice_count < _TUNED_FROM
    optional = {
        "driver": found.driver_version,
        "memory": "shared with the host" if found.is_integrated_gpu else "",
        "compile=max": f"tunes no matrix products, which needs {_TUNED_FROM} Xe cores" if small else "",
        "lacks": "" if found.has_fp64 else "64-bit floating point",
    }
    facts.update({key: value for key, value in optional.items() if value})
    return Device(
        backend="xpu",
        index=index,
        vendor=VENDOR,
        name=found.name,
        arch=row.extra["target"] if release(found) in load("hal.backends.xpu") else f"xe-{release(found)}",
        memory_bytes=found.total_memory or None,
        compute_units=found.gpu_subslice_count or None,
        capabilities=row.capabilities(reserves_addresses=True, spread=_alike(runtime, found)),
        facts=facts,
    )


def _nothing_visible(build: Build, runtime: Runtime, host: Host, environ: Mapping[str, str]) -> Unavailable:
    said = f" (its message: {runtime.failure})" if runtime.failure else ""
    have = f"{build.detail} for XPU {runtime.version} is installed, but"
    if host.render == "absent":
        return Unavailable(
            f"{have} /dev/dri has no render node: no i915 or xe driver is loaded, or the container hides it; "
            f"{_seen(host)}",
            "load the driver of the kernel; in a container, start it with --device=/dev/dri",
        )
    if host.render == "denied":
        return Unavailable(
            f"{have} this user is not allowed to open /dev/dri/renderD*; {_seen(host)}",
            "join the groups that are allowed to: sudo usermod -aG render,video $USER, then log in again",
        )
    hiding = [name for name in _VISIBLE if name in environ]
    if hiding:
        values = " and ".join(f"{name}='{environ[name]}'" for name in hiding)
        leaves = "leaves" if len(hiding) == 1 else "leave"
        return Unavailable(f"{have} {values} {leaves} no GPU visible; {_seen(host)}", f"unset {' '.join(hiding)}")
    return Unavailable(
        f"{have} its runtime sees no device; {_seen(host)}{said}",
        "install Intel's compute runtime: the packages libze1 and libze-intel-gpu1, or intel-level-zero-gpu",
    )


def _alike(runtime: Runtime, found: Properties) -> int:
    """How many devices are like one."""
    return sum((each.name, each.architecture) == (found.name, found.architecture) for each in runtime.devices)


def _seen(host: Host) -> str:
    if not host.cards:
        return f"no {VENDOR} GPU was found"
    more = f" (and {host.cards - 1} more)" if host.cards > 1 else ""
    return f"an {VENDOR} GPU was found{more}"


def _order(key: str) -> tuple[int, ...]:
    return tuple(int(part) for part in key.split("."))
