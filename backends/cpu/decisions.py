"""What the CPU backend decides, as pure functions of the installed PyTorch and the machine."""

from __future__ import annotations

from dataclasses import replace

from hal.backends._host.host import Host
from hal.backends._torch.architectures import Architecture, load
from hal.backends._torch.build import Build
from hal.contract import Available, Unavailable
from hal.contract.device import Device, Precision

__all__ = ["architecture", "availability", "describe"]


def availability(build: Build | None) -> Available | Unavailable:
    """Whether PyTorch can run here; any build of it drives the processor."""
    if build is None:
        return Unavailable("torch is not installed", "install torch: see pytorch.org, Get Started")
    if build.broken:
        return Unavailable(f"{build.detail} is installed but cannot be imported: {build.broken}", "reinstall torch")
    return Available(build.detail)


def architecture(host: Host, capability: str) -> Architecture:
    """The first row of the table that the processor fulfils.

    Args:
        host: the machine.
        capability: what PyTorch says that it uses; decides where the kernel lists no instruction sets.
    """
    rows = load("hal.backends.cpu")
    if host.flags:
        row = next(row for row in rows.values() if set(row.extra["flags"]) <= host.flags)
    else:
        row = next((row for row in rows.values() if capability in row.extra.get("capability", ())), rows["generic"])
    if host.flags.isdisjoint(row.extra.get("fp16_flags", ())):
        return row
    return replace(row, precisions={**row.precisions, "fp16": Precision(supported=True, accelerated=True)})


def describe(host: Host, capability: str, *, onednn: bool = True, heap: bool = True) -> list[Device]:
    """The processor as the one device.

    Args:
        host: the machine.
        capability: what PyTorch says that it uses.
        onednn: whether this PyTorch has oneDNN.
        heap: whether hal may tell the C library to keep memory.
    """
    row = architecture(host, capability)
    absent = {"heap": () if heap else ("keep",), "pool": () if onednn else ("blocked",)}
    algorithms = {
        key: tuple(value for value in values if value not in absent.get(key, ()))
        for key, values in row.algorithms.items()
    }
    needs = row.needs if onednn else {}
    row = replace(row, algorithms=algorithms, needs=needs)
    facts = {"architecture": row.name, "torch_capability": capability}
    if host.quota_cores is not None:
        facts["quota_cores"] = f"{host.quota_cores:g}"
    return [
        Device(
            backend="cpu",
            index=0,
            vendor=host.vendor,
            name=host.name,
            arch=row.key,
            memory_bytes=host.memory_bytes,
            compute_units=host.cores,
            capabilities=row.capabilities(threads=True, spread=host.cores or 1),
            facts=facts,
        )
    ]
