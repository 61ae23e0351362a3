"""Hardware that programs can be compiled for without having it: names, figures, and what describes it to XLA.

What XLA asks for is data in ``targets.toml``; peaks and bandwidths are those of :mod:`hal.catalogue`. This module
imports no framework.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from hal import catalogue
from hal.contract import PRECISIONS
from hal.errors import ConfigError

__all__ = ["TargetSpec", "names", "parse", "refuse_product"]


@dataclass(frozen=True)
class TargetSpec:
    """One kind of absent hardware, and how many of it.

    Attributes:
        name: what was asked for, for example ``tpu-v5e:2x2``, ``h100:8``, ``rocm:gfx942``.
        platform: XLA's name of the platform.
        product: the hardware, for people.
        topology: what XLA calls the arrangement of the devices, for example ``v5e:2x2`` or ``1x1x8``.
        devices: how many, as JAX counts them.
        memory_bytes: memory of one device; None where no figure is kept.
        usable_bytes: what one program may take of it: on TPU by the compiler's own word, on GPUs what JAX takes.
        flops: peak FLOP/s of one device, by precision.
        bandwidth: memory bandwidth of one device in bytes/s.
        options: arguments of ``jax.experimental.topologies.get_topology_desc`` beside platform and name.
        environment: variables that the platform's compiler wants to find when it is loaded.
        capability: compute capability of an NVIDIA GPU, ``gfx942`` and the like of AMD's; empty where not known.
    """

    name: str
    platform: Literal["tpu", "cuda", "rocm"]
    product: str
    topology: str
    devices: int
    memory_bytes: int | None = None
    usable_bytes: int | None = None
    flops: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    capability: str = ""

    def __post_init__(self) -> None:
        for name in ("flops", "options", "environment"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def compiles(self) -> bool:
        """Whether there is a compiler for it that runs elsewhere; if not, programs are lowered to StableHLO alone."""
        return self.platform != "rocm"

    def peak(self, precision: str) -> tuple[str, float] | None:
        """Peak FLOP/s of one device in a precision, or in fp32 where the precision has no figure; None: none is kept.

        Returns:
            The precision that the figure is of, and FLOP/s.
        """
        found = precision if precision in self.flops else "fp32"
        return (found, self.flops[found]) if found in self.flops else None


def names() -> tuple[str, ...]:
    """Every target without its number of devices: ``tpu-v2``, ..., ``a100-80gb``, ..., ``rocm``, ``gfx900``, ..."""
    data = _data()
    tpus = (_tpu_name(key) for key in data["tpu"])
    return (*tpus, *data["cuda"], "rocm", *data["rocm"]["architectures"])


def parse(text: str) -> TargetSpec:
    """The target of a name.

    Args:
        text: a TPU with its topology (``tpu-v5e:2x2``, ``tpu7x:2x2x1``), an NVIDIA GPU, optionally with a number of
            them (``h100``, ``h100:8``), or an AMD architecture (``rocm``, ``rocm:gfx942``, ``gfx942``).

    Raises:
        ConfigError: no such hardware, or no such topology of it.

    >>> parse("tpu-v5e:2x2").devices
    4
    >>> parse("h100:8").product
    'NVIDIA H100 80GB HBM3'
    """
    asked = text.strip().lower()
    base, _, rest = asked.partition(":")
    data = _data()
    tpu = re.fullmatch(r"tpu-?(v?\w+)", base)
    generation = next((key for key in data["tpu"] if tpu and tpu[1].removeprefix("v") == key.removeprefix("v")), None)
    if generation:
        return _tpu(generation, rest, data["tpu"][generation])
    if base in data["cuda"]:
        return _cuda(base, rest, data["cuda"][base], data["gpu"])
    if base == "rocm" or base in data["rocm"]["architectures"]:
        return _rocm(base, rest, data["rocm"]["architectures"])
    raise ConfigError(
        f"target={text} is not known{_meant(base, names())}", fix=f"use one of these targets: {', '.join(names())}"
    )


def refuse_product(text: str) -> None:
    """Say which architecture a product has, because AMD's GPUs are targets by their architecture.

    Raises:
        ConfigError: the text is the name of such a product.
    """
    base = text.strip().lower().partition(":")[0]
    for arch, products in _data()["rocm"]["products"].items():
        if base in products:
            raise ConfigError(f"target={text} is named by its architecture, {arch}", fix=f"write target=rocm:{arch}")


@functools.cache
def _data() -> dict[str, Any]:
    return tomllib.loads(resources.files("hal.backends.jax").joinpath("targets.toml").read_text("utf-8"))


def _tpu(key: str, topology: str, row: Mapping[str, Any]) -> TargetSpec:
    base = _tpu_name(key)
    if topology not in row["topologies"]:
        said = (
            f"target={base}:{topology}: {base} has no such topology" if topology else f"target={base} needs a topology"
        )
        raise ConfigError(
            f"{said}{_meant(topology, row['topologies'])}",
            fix=f"use one of: {', '.join(f'{base}:{one}' for one in row['topologies'])}",
        )
    chips = math.prod(int(part) for part in topology.split("x"))
    device = catalogue.find(row["device"])
    return TargetSpec(
        name=f"{base}:{topology}",
        platform="tpu",
        product=f"TPU {row['name'].removeprefix('tpu')}",
        topology=f"{row['name']}:{topology}",
        devices=chips * row["devices_per_chip"],
        memory_bytes=row["memory_bytes"],
        usable_bytes=row["usable_bytes"],
        flops=_tpu_flops(device, row["devices_per_chip"]),
        bandwidth=None if device.bandwidth is None else device.bandwidth / row["devices_per_chip"],
        options=row.get("options", {}),
        environment={"TPU_ACCELERATOR_TYPE": row["accelerator"].format(chips=chips, cores=2 * chips)},
    )


def _cuda(base: str, count: str, row: Mapping[str, Any], common: Mapping[str, Any]) -> TargetSpec:
    if count and not re.fullmatch(r"[1-9]\d{0,3}", count):
        raise ConfigError(
            f"target={base}:{count}: {count} is not a number of devices", fix=f"write for example target={base}:8"
        )
    devices = int(count or 1)
    device = catalogue.find(row["device"])
    return TargetSpec(
        name=f"{base}:{devices}" if count else base,
        platform="cuda",
        product=row["product"],
        topology=f"1x1x{devices}",
        devices=devices,
        memory_bytes=row["memory_bytes"],
        usable_bytes=int(row["memory_bytes"] * common["usable_share"]),
        flops={name: rate for name in PRECISIONS if (rate := device.rate(name)) is not None},
        bandwidth=device.bandwidth,
        options={"target_config": _description(row, common, device.bandwidth), "topology": f"1x1x{devices}"},
        capability=row["capability"],
    )


def _rocm(base: str, rest: str, architectures: list[str]) -> TargetSpec:
    arch = rest if base == "rocm" else base
    if (base != "rocm" and rest) or (arch and arch not in architectures):
        wrong = f"{base}:{rest}" if rest else base
        raise ConfigError(
            f"target={wrong} is not known{_meant(rest, architectures)}",
            fix=f"use one of: {', '.join(f'rocm:{one}' for one in architectures)}",
        )
    name = f"rocm:{arch}" if arch else "rocm"
    product = f"AMD {arch}" if arch else "any AMD GPU"
    return TargetSpec(name, "rocm", product, topology="", devices=1, capability=arch or "gfx")


def _tpu_flops(device: catalogue.CatalogueDevice, devices_per_chip: int) -> dict[str, float]:
    """Peaks of one device; fp32 as ``jax.lax.Precision.HIGHEST`` multiplies, in six passes of bf16."""
    bf16 = device.rate("bf16")
    return {} if bf16 is None else {"bf16": bf16 / devices_per_chip, "fp32": bf16 / devices_per_chip / 6}


def _description(row: Mapping[str, Any], common: Mapping[str, Any], bandwidth: float | None) -> str:
    """A GPU as XLA wants it described: a GpuTargetConfigProto in protobuf's text format."""
    major, minor = row["capability"].split(".")
    extension = "ACCELERATED_FEATURES" if row.get("accelerated") else "NONE"
    facts = {
        **common["info"],
        **row["info"],
        "memory_bandwidth": int(bandwidth or 0),
        "device_memory_size": row["memory_bytes"],
    }
    return "\n".join(
        (
            "gpu_device_info {",
            *(f"  {name}: {value}" for name, value in facts.items()),
            f"  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {extension} }}",
            "}",
            'platform_name: "CUDA"',
            "dnn_version_info {{ major: {} minor: {} patch: {} }}".format(*common["dnn_version"]),
            f'device_description_str: "{row["product"]}"',
        )
    )


def _tpu_name(key: str) -> str:
    return f"tpu-{key}" if key.startswith("v") else f"tpu{key}"


def _meant(asked: str, known: Iterable[str]) -> str:
    known = list(known)
    near = [name for name in known if asked and name.startswith(asked)] or difflib.get_close_matches(asked, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
