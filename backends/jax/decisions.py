"""What the JAX backend says of devices, as pure functions of what JAX and the machine report."""

from __future__ import annotations

from collections.abc import Mapping

from hal.backends._host import Host
from hal.backends.jax.targets import TargetSpec
from hal.contract.device import Capabilities, Device, Precision, PrecisionName
from hal.contract.program import Target

__all__ = ["capabilities", "describe_accelerator", "describe_processor", "describe_target"]

# The first of each is what `hal bench` found to be faster for the cnn; docs/benchmarks.md has the figures. On GPUs and
# TPUs XLA calls the vendor's convolutions and poolings, which nobody has measured against slices there yet. A TPU has
# no fast gather of single pixels, and its compiler works on one for most of a minute.
_GPU: Mapping[str, tuple[str, ...]] = {
    "conv": ("direct", "patches"),
    "pool": ("window", "reshape"),
    "crop": ("gather", "products"),
}
_ALGORITHMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cpu": {**_GPU, "pool": ("reshape", "window")},
    "gpu": _GPU,
    "tpu": {**_GPU, "crop": ("products", "gather")},
}
_NO_TF32 = Precision(False, note="only NVIDIA GPUs since Ampere support it")


def capabilities(platform: str, compute_capability: str = "") -> Capabilities:
    """What a device of a platform can do.

    Args:
        platform: JAX's word: cpu, gpu or tpu.
        compute_capability: of a GPU: ``9.0`` for NVIDIA's, ``gfx942`` for AMD's.
    """
    return Capabilities(
        precisions=_precisions(platform, compute_capability),
        layouts=("nhwc",),
        compile=("default", "eager"),
        parallel=("dp",),
        algorithms=_ALGORITHMS.get(platform, _GPU),
    )


def _precisions(platform: str, compute_capability: str) -> dict[PrecisionName, Precision]:
    fast = Precision(True, accelerated=True)
    if platform == "cpu":
        slow = Precision(
            True, note="XLA's CPU compiler does not use hardware units for it and converts from and to fp32"
        )
        return {"fp32": fast, "tf32": _NO_TF32, "bf16": slow, "fp16": slow}
    if platform == "tpu":
        return {
            "fp32": Precision(True, note="computed as six products of bf16"),
            "tf32": _NO_TF32,
            "bf16": fast,
            "fp16": Precision(True, note="converted to fp32"),
        }
    generation = _number(compute_capability)
    if generation is None:  # no compute capability as NVIDIA writes it
        return {"fp32": fast, "tf32": _NO_TF32, "bf16": Precision(True), "fp16": fast}
    ampere = generation >= 8.0
    old = Precision(True, note=f"compute capability {compute_capability} has no units for bf16: computed in fp32")
    return {
        "fp32": fast,
        "tf32": fast if ampere else _NO_TF32,
        "bf16": fast if ampere else old,
        "fp16": Precision(True, accelerated=generation >= 7.0),
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def describe_processor(backend: str, index: int, host: Host, machine: str, version: str) -> Device:
    """A CPU device of JAX: the machine's processor, of which JAX may be told to make several.

    Args:
        backend: the name that the backend is registered under.
        index: position among the CPU devices.
        host: the machine.
        machine: its architecture, as the system names it.
        version: JAX's.
    """
    return Device(
        backend=backend,
        index=index,
        vendor=host.vendor,
        name=host.name,
        arch=machine,
        memory_bytes=host.memory_bytes,
        compute_units=host.cores,
        capabilities=capabilities("cpu"),
        facts={"runtime": version},
        kind="cpu",
    )


def describe_target(backend: str, target: TargetSpec) -> Target:
    """Hardware that is not here, as the contract knows it."""
    platform = "tpu" if target.platform == "tpu" else "gpu"
    device = Device(
        backend=backend,
        index=0,
        vendor={"tpu": "Google", "cuda": "NVIDIA", "rocm": "AMD"}[target.platform],
        name=target.product,
        arch=target.topology if platform == "tpu" else target.capability or target.name,
        memory_bytes=target.memory_bytes,
        compute_units=None,
        capabilities=capabilities(platform, target.capability),
        kind=target.name,
    )
    return Target(device, target.devices)


def describe_accelerator(
    backend: str,
    kind: str,
    index: int,
    *,
    platform: str,
    name: str,
    compute_capability: str = "",
    memory_bytes: int | None = None,
    core_count: int | None = None,
    version: str = "",
) -> Device:
    """A GPU or TPU of JAX.

    Args:
        backend: the name that the backend is registered under.
        kind: the platform as part of the device's name; empty for a backend with one platform.
        index: position among the devices of the kind.
        platform: JAX's word: gpu or tpu.
        name: JAX's device kind, for example ``TPU v5 lite`` or ``NVIDIA H100``.
        compute_capability: of a GPU.
        memory_bytes: what JAX's allocator may use.
        core_count: multiprocessors of a GPU.
        version: JAX's.
    """
    amd = compute_capability.startswith("gfx")
    return Device(
        backend=backend,
        index=index,
        vendor="Google" if platform == "tpu" else "AMD" if amd else "NVIDIA" if compute_capability else "unknown",
        name=name,
        arch=compute_capability if amd else f"sm_{compute_capability.replace('.', '')}" if compute_capability else name,
        memory_bytes=memory_bytes,
        compute_units=core_count,
        capabilities=capabilities(platform, compute_capability),
        facts={"runtime": version},
        kind=kind,
    )
