"""What a device is measured with: products, streams through memory, copies, launches, a convolution, an attention.

All of it is written in the neutral API, so it is the same work on every backend; what a backend can do besides comes
from :meth:`~hal.contract.measuring.MeasuresDevices.loads`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hal import ops
from hal.contract import Backend, MeasuresDevices
from hal.contract.device import Device, PrecisionName
from hal.contract.plan import Plan
from hal.measure import on_host

__all__ = ["DTYPES", "Group", "Work", "best_precision", "convolution", "plan_for", "product", "works"]

Group = Literal["product", "memory", "transfer", "launch", "model"]

DTYPES: dict[str, str] = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_LONG_ENOUGH_S = 2e-3
"""Work grows until a run takes as long, so that starting it does not count."""

_LARGEST_PRODUCT = 8192
_LAUNCHES = 200
_TRANSFER_BYTES = 2**28
_STREAM_FLOATS, _MOST_STREAM_FLOATS = 2**24, 2**29
_PART = 2**20


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        name: what it is.
        group: what it says something about.
        precision: the precision that it computes in.
        plan: what it runs under.
        run: does it once; it may return before the device has finished.
        flops: operations of one run.
        bytes: bytes that one run reads and writes.
        count: runs that one call stands for, where the time of one is wanted.
        size: how large it was made.
    """

    name: str
    group: Group
    precision: str
    plan: Plan
    run: Callable[[], object]
    flops: float = 0.0
    bytes: float = 0.0
    count: int = 1
    size: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", _kept(self.run))


def plan_for(device: Device, precision: PrecisionName) -> Plan:
    """The plan that work in a precision runs under: op by op, where the backend can."""
    plan = Plan(precision=precision)
    if "eager" in device.capabilities.compile:
        plan = plan.model_copy(update={"compile": "eager"})
    return plan.resolve(device)


def best_precision(device: Device) -> PrecisionName:
    """The narrowest precision that the device accelerates, in which training is at home; fp32 where there is none."""
    found = device.capabilities.precisions
    for name in ("bf16", "fp16"):
        if name in found and found[name].supported and found[name].accelerated:
            return name
    return "fp32"


def works(backend: Backend, device: Device) -> Iterator[Work]:
    """The work, one after the other; what one needs in memory is released before the next is made."""
    for precision in device.capabilities.supported_precisions():
        yield product(backend, device, precision)
    extra = backend.loads(device) if isinstance(backend, MeasuresDevices) else ()
    plan = plan_for(device, "fp32")
    for load in extra:
        if load.flops:
            yield Work(load.name, "product", load.name, plan, load.run, flops=load.flops)
    yield from _streams(backend, device)
    if not on_host(device):
        yield from _copies(backend, device)
    for load in extra:
        if load.bytes:
            yield Work(load.name, "transfer", "", plan, load.run, bytes=load.bytes)
    yield _launches(backend, device)
    yield convolution(backend, device, best_precision(device))
    yield _attention(backend, device, best_precision(device))


def product(backend: Backend, device: Device, precision: PrecisionName) -> Work:
    """A product of two square matrices of random numbers: on zeros a device draws less power and clocks higher."""
    plan = plan_for(device, precision)

    def make(n: int) -> Work:
        a, b = (_random(backend, device, (n, n), precision, seed) for seed in (1, 2))
        return Work(
            precision, "product", precision, plan, lambda: ops.matmul(a, b), flops=2.0 * n**3, size=f"{n} x {n}"
        )

    return _grown(backend, device, make, 512, _LARGEST_PRODUCT, 2)


def _streams(backend: Backend, device: Device) -> Iterator[Work]:
    plan = plan_for(device, "fp32")
    room = device.memory_bytes or 2**32

    def work(name: str, streams: int, run: Callable[[Any, Any], object]) -> Callable[[int], Work]:
        def make(n: int) -> Work:
            a, b = (_random(backend, device, (n,), "fp32", seed) for seed in (1, 2))
            return Work(
                name, "memory", "fp32", plan, lambda: run(a, b), bytes=4.0 * streams * n, size=f"{4 * n >> 20} MiB"
            )

        return make

    xp = device.xp
    largest = max(_STREAM_FLOATS, min(room // 16 // 4, _MOST_STREAM_FLOATS))
    for name, streams, run in (
        ("copy", 2, lambda a, b: xp.asarray(a, copy=True)),
        ("read", 1, lambda a, b: ops.sum(a)),
        ("add", 3, lambda a, b: a + b),
    ):
        yield _grown(backend, device, work(name, streams, run), _STREAM_FLOATS, largest, 2)


def _copies(backend: Backend, device: Device) -> Iterator[Work]:
    plan = plan_for(device, "fp32")
    host = np.ones(_TRANSFER_BYTES // 4, np.float32)
    there = backend.from_host(host, device)
    size = f"{_TRANSFER_BYTES >> 20} MiB"
    yield Work(
        "to device",
        "transfer",
        "",
        plan,
        lambda: backend.from_host(host, device),
        bytes=_TRANSFER_BYTES,
        size=size,
    )
    # What was copied once may be kept on the host, so each copy is of an array of its own.
    yield Work(
        "from device", "transfer", "", plan, lambda: backend.to_host(there + 0), bytes=_TRANSFER_BYTES, size=size
    )


def _launches(backend: Backend, device: Device) -> Work:
    x = _random(backend, device, (1,), "fp32", 1)

    def run() -> object:
        y = x
        for _ in range(_LAUNCHES):
            y = y + x
        return y

    return Work("launch", "launch", "fp32", plan_for(device, "fp32"), run, count=_LAUNCHES, size="1 number")


def convolution(backend: Backend, device: Device, precision: PrecisionName) -> Work:
    """A convolution of the kind that fills most of an image classifier."""
    plan = plan_for(device, precision)

    def make(n: int) -> Work:
        x = _random(backend, device, (n, 56, 56, 64), precision, 1, "NHWC", plan.layout or "nhwc")
        kernel = _random(backend, device, (3, 3, 64, 64), precision, 2, "HWIO", plan.layout or "nhwc")
        flops = 2.0 * n * 56 * 56 * 64 * 64 * 9
        return Work(
            "convolution",
            "model",
            precision,
            plan,
            lambda: ops.conv2d(x, kernel),
            flops=flops,
            count=n,
            size=f"{n} x 56 x 56 x 64, 3 x 3",
        )

    return _grown(backend, device, make, 8, 512, 4)


def _attention(backend: Backend, device: Device, precision: PrecisionName) -> Work:
    plan = plan_for(device, precision)

    def make(n: int) -> Work:
        q, k, v = (_random(backend, device, (n, 16, 512, 64), precision, seed) for seed in (1, 2, 3))
        flops = 4.0 * n * 16 * 512 * 512 * 64
        return Work(
            "attention",
            "model",
            precision,
            plan,
            lambda: ops.attention(q, k, v),
            flops=flops,
            count=n,
            size=f"{n} x 16 x 512 x 64",
        )

    return _grown(backend, device, make, 2, 128, 4)


def _kept(run: Callable[[], object]) -> Callable[[], object]:
    """The same work, whose last result stays alive: a runtime may wait for nothing but arrays that are."""
    held: list[object] = [None]

    def keeping() -> object:
        held[0] = run()
        return held[0]

    return keeping


def _grown(
    backend: Backend, device: Device, make: Callable[[int], Work], first: int, largest: int, factor: int
) -> Work:
    """The smallest work that takes long enough, or the largest."""
    n = first
    while True:
        work = make(n)
        with backend.settings(work.plan, device):
            work.run()
            backend.synchronize(device)
            start = time.perf_counter()
            work.run()
            backend.synchronize(device)
        if time.perf_counter() - start >= _LONG_ENOUGH_S or n * factor > largest:
            return work
        n *= factor


def _random(
    backend: Backend,
    device: Device,
    shape: tuple[int, ...],
    precision: str,
    seed: int,
    axes: str = "",
    layout: str = "nhwc",
) -> Any:
    """Random numbers on the device, in the dtype of a precision; large arrays repeat a part of a million numbers.

    They are repeated on the device, because the way there is slow and is measured by itself.
    """
    count, dtype = int(np.prod(shape)), getattr(device.xp, DTYPES[precision])
    random = np.random.default_rng(seed)
    if axes or count % _PART:
        values = np.resize(random.standard_normal(min(count, _PART), np.float32), shape)
        return ops.cast(backend.from_host(values, device, axes=axes, layout=layout), dtype)
    part = ops.cast(backend.from_host(random.standard_normal(_PART, np.float32), device), dtype)
    return ops.reshape(ops.tile(part, (count // _PART,)), shape)
