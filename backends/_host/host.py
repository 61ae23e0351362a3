"""What the machine says about its processor, its memory and what of them this process may use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from hal.util.systems import on_macos, processor_name

__all__ = ["Host", "read_host"]

_CPUINFO = Path("/proc/cpuinfo")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Host:
    """Processor and limits.

    Attributes:
        vendor: as the processor says, for example ``GenuineIntel``.
        name: product name.
        flags: instruction set extensions, as the kernel names them; empty where the kernel lists none.
        cores: physical cores that this process may run on.
        memory_bytes: memory of the machine, or of the control group if that is less.
        quota_cores: time that the control group grants, in cores; None without a limit.
        family: the processor's family, as the kernel counts; None where it does not.
    """

    vendor: str
    name: str
    flags: frozenset[str] = frozenset()
    cores: int | None = None
    memory_bytes: int | None = None
    quota_cores: float | None = None
    family: int | None = None


def read_host(
    cpuinfo: Path = _CPUINFO,
    cgroups: Path = _CGROUPS,
    own_cgroups: Path = _OWN_CGROUPS,
    allowed: frozenset[int] | None = None,
) -> Host:
    """Describe the machine.

    Args:
        cpuinfo: the kernel's description of its processors.
        cgroups: where the control groups are mounted.
        own_cgroups: the control groups of this process.
        allowed: numbers of the processors that this process may run on; None: ask the system.
    """
    processors = list(_processors(_read(cpuinfo)))
    first = processors[0] if processors else {}
    folders = list(_folders(cgroups, _read(own_cgroups)))
    limits = [limit for folder in folders if (limit := _memory_limit(folder)) is not None]
    quotas = [quota for folder in folders if (quota := _quota(folder)) is not None]
    return Host(
        vendor=first.get("vendor_id") or first.get("CPU implementer") or _maker() or platform.machine(),
        name=first.get("model name")
        or (processor_name() if on_macos() else "")
        or platform.processor()
        or platform.machine(),
        flags=frozenset((first.get("flags") or first.get("Features") or "").split()),
        cores=_cores(processors, _allowed() if allowed is None else allowed),
        memory_bytes=min([psutil.virtual_memory().total, *limits]),
        quota_cores=min(quotas, default=None),
        family=int(text) if (text := first.get("cpu family", "")).isdigit() else None,
    )


def _maker() -> str:
    """Who made a Mac's processor: the first word of its name."""
    return processor_name().partition(" ")[0].removesuffix("(R)") if on_macos() else ""


def _processors(text: str) -> Iterator[dict[str, str]]:
    for block in text.strip().split("\n\n"):
        pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in pairs}
        if "processor" in fields:
            yield fields


def _allowed() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _cores(processors: list[dict[str, str]], allowed: frozenset[int]) -> int | None:
    """Physical cores among the allowed processors; two hardware threads of one core count once."""
    usable = [p for p in processors if p["processor"].isdigit() and int(p["processor"]) in allowed]
    if usable and all("core id" in p for p in usable):
        return len({(p.get("physical id"), p["core id"]) for p in usable})
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count()
    return physical and min(physical, len(allowed))


def _folders(root: Path, own: str) -> Iterator[Path]:
    """Folders of this process's control groups and of all groups around them; limits of each apply.

    A line of the kernel's list is ``number:controllers:path``; version 2 has one hierarchy without controllers.
    """
    for line in own.splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3 or (parts[1] and not {"memory", "cpu"} & set(parts[1].split(","))):
            continue
        base = root / parts[1] if parts[1] else root
        here = base / parts[2].lstrip("/")
        yield here
        yield from (folder for folder in here.parents if folder == base or base in folder.parents)


def _memory_limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = _read(folder / name).strip()
        if text.isdigit():
            return int(text)
    return None


def _quota(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
