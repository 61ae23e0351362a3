"""Checks of the contract around the ops: devices, transfers, settings, errors, threads."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hal.contract import Available, Backend, MemoryUse, SpreadsOver, Telemetry, Unavailable
from hal.contract.device import PRECISIONS, Device
from hal.contract.plan import Plan
from hal.errors import HalError, OutOfMemoryError, UnsupportedError
from hal.tensor import Ops, namespace
from hal.testing.base import ConformanceBase, dtype_of
from hal.types import Array

__all__ = ["ContractChecks"]

_DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
_RARE = ("uint16", "uint32", "uint64", "float64", "complex64", "complex128")
_AXES = {"": (2, 3), "IO": (3, 4), "NHWC": (2, 3, 4, 5), "HWIO": (3, 2, 4, 5), "HWIO_transpose": (3, 2, 4, 5)}


class ContractChecks(ConformanceBase):
    """Everything that a backend does beside computing."""

    # Discovery

    def test_probe(self) -> None:
        """``probe`` says what runs here, or what is missing and what fixes that; it repeats itself and never raises."""
        backend = self.make_backend()
        state = backend.probe()
        assert backend.name == self.backend_name
        assert type(backend.probe()) is type(state)
        if isinstance(state, Unavailable):
            assert state.reason
            assert state.fix
            assert backend.devices() == []
        else:
            assert isinstance(state, Available)
            assert state.detail
            assert backend.devices()

    def test_devices(self, backend: Backend) -> None:
        """Devices are complete frozen facts, equal whenever they are asked for."""
        devices = backend.devices()
        assert devices == backend.devices()
        for kind in {d.kind for d in devices}:
            of_kind = [d.index for d in devices if d.kind == kind]
            assert of_kind == list(range(len(of_kind)))
        for device in devices:
            assert device.backend == self.backend_name
            assert str(device).split(":") == [self.backend_name, *filter(None, [device.kind]), str(device.index)]
            assert device in {device}
            assert device.vendor
            assert device.name
            assert device.arch
            assert device.memory_bytes is None or device.memory_bytes > 0
            assert device.compute_units is None or device.compute_units > 0
            assert all(isinstance(k, str) and isinstance(v, str) for k, v in device.facts.items())
            with pytest.raises(dataclasses.FrozenInstanceError):
                device.name = "other"  # type: ignore[misc]
            with pytest.raises(TypeError):
                device.facts["driver"] = "other"  # type: ignore[index]

    def test_capabilities(self, backend: Backend) -> None:
        """Capabilities name values that plans have; fp32 and eager always work."""
        for device in backend.devices():
            can = device.capabilities
            assert set(can.precisions) == set(PRECISIONS)
            assert "fp32" in can.supported_precisions()
            assert can.layouts
            assert set(can.layouts) <= {"nhwc", "nchw"}
            assert "eager" in can.compile
            assert set(can.compile) <= {"eager", "default", "max"}
            assert set(can.parallel) <= {"dp", "fsdp"}
            assert can.spread >= 1
            assert isinstance(backend, SpreadsOver) or not can.parallel, (
                "a backend that offers parallel= derives from SpreadsOver"
            )
            assert not can.trains or type(backend).value_and_grad is not Backend.value_and_grad, (
                "a backend without value_and_grad should say trains=False"
            )
            known = Plan.algorithms()
            assert {"conv", "pool"} <= set(can.algorithms) <= set(known)
            assert all(values and set(values) <= set(known[key]) for key, values in can.algorithms.items())
            offered = {f"{key}={value}" for key, values in can.choices().items() for value in values}
            assert set(can.needs) <= offered, "needs= names a value that is not offered"
            assert all(set(needs) <= set(Plan.model_fields) for needs in can.needs.values())
            for name, entry in can.precisions.items():
                assert entry.supported or not entry.accelerated, f"{name} is accelerated but not supported"
                assert entry.supported or entry.note, f"{name} is not supported and its note does not say why"

    def test_plans(self, device: Device) -> None:
        """A plan takes the device's defaults, and is refused where the device cannot follow."""
        can = device.capabilities
        plan = Plan().resolve(device)
        assert (plan.layout, plan.compile) == (can.layouts[0], can.compile[0])
        for key, values in can.choices().items():
            free = [value for value in values if f"{key}={value}" not in can.needs]
            assert free, f"every value of {key} needs something, so a plan may find none"
            assert getattr(plan, key) in values[: values.index(free[0]) + 1]
            for value in values:
                needs = {name: each[0] for name, each in can.needs.get(f"{key}={value}", {}).items()}
                assert getattr(Plan.model_validate({key: value, **needs}).resolve(device), key) == value
        for name in PRECISIONS:
            if name in can.supported_precisions():
                assert Plan(precision=name).resolve(device).precision == name
            else:
                with pytest.raises(UnsupportedError, match=f"precision={name} is not supported"):
                    Plan(precision=name).resolve(device)
        if not can.threads:
            with pytest.raises(UnsupportedError, match="threads=1"):
                Plan(threads=1).resolve(device)

    def test_ops_are_shared(self, backend: Backend, device: Device) -> None:
        """Equal devices give the same ops, in the version of the standard that hal is written for."""
        assert backend.ops(device) is backend.ops(dataclasses.replace(device))
        assert backend.ops(device).__array_api_version__ >= "2024.12"
        with pytest.raises(AttributeError):
            backend.ops(device).no_such_function  # noqa: B018 - the access is what is checked

    def test_arrays_are_served(self, backend: Backend, device: Device, ops: Ops) -> None:
        """``hal.ops`` finds the ops of this backend's arrays, and of what it traces with."""
        x = backend.from_host(np.ones(2, np.float32), device)
        seen = [namespace(x)]

        def loss(p: Array) -> tuple[Array, tuple[()]]:
            seen.append(namespace(p))
            return ops.sum(p), ()

        if device.capabilities.trains:
            backend.value_and_grad(loss)(x)
        for served in seen:
            assert isinstance(ops, type(served)), "pass each type of arrays to hal.tensor.register"

    def test_versions(self, backend: Backend) -> None:
        """Versions for records and fingerprints, as text."""
        assert all(isinstance(k, str) and isinstance(v, str) and v for k, v in backend.versions().items())

    def test_readings(self, backend: Backend, device: Device) -> None:
        """Memory and telemetry are numbers or unknown; energy counts up."""
        x = backend.from_host(np.ones((256, 256), np.float32), device)
        backend.synchronize(device)
        use = backend.memory(device)
        assert isinstance(use, MemoryUse)
        if use.allocated_bytes is not None:
            assert use.allocated_bytes >= 256 * 256 * 4
            # The peak is unknown where it can be that of an earlier time.
            assert use.peak_bytes is None or use.peak_bytes >= use.allocated_bytes
        backend.reset_peak_memory(device)
        first, second = backend.telemetry(device), backend.telemetry(device)
        for reading in (first, second):
            assert isinstance(reading, Telemetry)
            for name, value in dataclasses.asdict(reading).items():
                assert value is None or isinstance(value, tuple) or value >= 0, name
        if first.energy_j is not None and second.energy_j is not None:
            assert second.energy_j >= first.energy_j
        assert tuple(x.shape) == (256, 256)

    # Transfers

    @pytest.mark.parametrize("dtype", _DTYPES)
    def test_round_trip(self, backend: Backend, device: Device, ops: Ops, dtype: str) -> None:
        """Every dtype of the standard, and float16, survives the way to the device and back.

        A device may refuse the types that some hardware does not have.
        """
        host = np.array([[0, 1, 2], [3, 100, 1]]).astype(dtype)
        try:
            backend.from_host(host.copy(), device)
        except UnsupportedError as error:
            assert dtype in _RARE, f"{dtype} must be taken"
            pytest.skip(f"{device} refuses {dtype}: {error.message}")
        for array in (host, host[:, ::2], host.T, host[:0], host[0, 0].reshape(())):
            device_array = backend.from_host(array.copy(order="K"), device)
            assert tuple(device_array.shape) == array.shape
            assert device_array.dtype == getattr(ops, dtype)
            if self.values:
                back = backend.to_host(device_array)
                assert back.dtype == array.dtype
                assert back.shape == array.shape
                assert back.flags.c_contiguous
                assert np.array_equal(back, array)

    @pytest.mark.parametrize("axes", sorted(_AXES))
    def test_storage(self, backend: Backend, device: Device, axes: str) -> None:
        """Whatever the storage order, the logical array is the same."""
        shape = _AXES[axes]
        for size in (shape, (0, *shape[1:]), tuple(1 for _ in shape)):
            host = np.arange(np.prod(size), dtype=np.float32).reshape(size)
            for layout in device.capabilities.layouts:
                array = backend.from_host(host.copy(), device, axes=axes, layout=layout)
                self.assert_array(backend, array, host, f"{axes} as {layout}", tolerance=0.0)
                self.assert_array(backend, array[:, :1], host[:, :1], "a slice", tolerance=0.0)

    def test_host_arrays_that_are_not_contiguous(self, backend: Backend, device: Device) -> None:
        """Strided, reversed and read-only NumPy arrays are taken, and left as they are."""
        base = np.arange(24, dtype=np.float32).reshape(4, 6)
        frozen = base.copy()
        frozen.flags.writeable = False
        for view in (base[::2, 1::2], base[::-1], base.T, np.broadcast_to(base[0], (3, 6)), frozen):
            self.assert_array(backend, backend.from_host(view, device) + 1, view + 1, "view", tolerance=0.0)
        assert np.array_equal(base, np.arange(24).reshape(4, 6))

    def test_bfloat16_to_host(self, backend: Backend, device: Device, ops: Ops) -> None:
        """NumPy has no bfloat16: it arrives as float32."""
        if "bf16" not in device.capabilities.supported_precisions():
            pytest.skip(f"{device} does not support bf16")
        host = np.array([1.0, -2.5, 3.0e38], np.float32)
        array = ops.cast(backend.from_host(host, device), dtype_of(ops, "bf16"))
        if self.values:
            back = backend.to_host(array)
            assert back.dtype == np.float32
            assert np.abs(back / host - 1).max() <= 2.0**-8

    def test_to_host_copies(self, backend: Backend, device: Device) -> None:
        """What is done to a result of ``to_host`` is not done to the array."""
        array = backend.from_host(np.ones(3, np.float32), device)
        if self.values:
            backend.to_host(array)[:] = 7
        self.assert_array(backend, array, np.ones(3), "array", tolerance=0.0)

    def test_from_dlpack(self, backend: Backend, device: Device) -> None:
        """An array of the same device is taken over by DLPack."""
        host = np.arange(6, dtype=np.float32).reshape(2, 3)
        array = backend.from_dlpack(backend.from_host(host, device), device)
        self.assert_array(backend, array * 2, host * 2, "array", tolerance=0.0)

    # Settings

    @pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
    def test_settings_are_restored(self, backend: Backend, device: Device, raises: bool) -> None:
        """Global settings hold inside ``settings`` alone, also when its body raises."""
        before = self.settings()
        if before is None:
            pytest.skip("the subclass overrides settings() if the framework has global settings")
        plans = [self.plan(device, precision=name) for name in device.capabilities.supported_precisions()]
        if device.capabilities.threads:
            plans.append(self.plan(device, threads=int(before["threads"]) + 1))
        for plan in plans:
            error = _Deliberate if raises else ()
            try:
                with backend.settings(plan, device):
                    inside = self.settings()
                    if raises:
                        raise _Deliberate
            except error:
                pass
            assert inside is not None
            assert plan.threads is None or inside["threads"] == plan.threads
            assert self.settings() == before, f"not restored after {plan}"

    def test_nested_settings(self, backend: Backend, device: Device) -> None:
        """Settings may be nested; each restores what it found."""
        before = self.settings()
        names = device.capabilities.supported_precisions()
        outer, inner = self.plan(device, precision=names[-1]), self.plan(device, precision=names[0])
        with backend.settings(outer, device):
            held = self.settings()
            with backend.settings(inner, device):
                pass
            assert self.settings() == held
        assert self.settings() == before

    # Errors

    def test_classify(self, backend: Backend) -> None:
        """Exceptions of no framework have no name; running out of memory has, if the backend knows it."""
        for error in (KeyError("x"), ValueError("shapes"), RuntimeError("other"), KeyboardInterrupt()):
            assert backend.classify(error) is None
        named = backend.classify(MemoryError())
        assert named is None or isinstance(named, OutOfMemoryError)
        if named is not None:
            assert named.fix
        own = UnsupportedError("asked", fix="do")
        assert backend.classify(own) in (None, own)

    def test_absurd_allocation(self, backend: Backend, device: Device, ops: Ops) -> None:
        """An array that no memory holds raises something that ``classify`` names, or a MemoryError."""
        if not self.values:
            pytest.skip("arrays without values fit any memory")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one, the framework says
            backend.to_host(ops.ones((2**46,), dtype=ops.float32))
        error = caught.value
        named: HalError | None = backend.classify(error)
        assert isinstance(named, OutOfMemoryError) or isinstance(error, MemoryError), repr(error)

    # Threads

    def test_threads(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Any thread may compute, draw and differentiate; none disturbs another."""
        hosts = [np.full((8, 8), i + 1, np.float32) for i in range(4)]
        start = threading.Barrier(len(hosts))

        def work(index: int) -> tuple[Array, Array, Array]:
            start.wait(timeout=60)
            x = backend.from_host(hosts[index], device)
            for _ in range(10):
                y = ops.matmul(x, x)
                drawn = ops.uniform(backend.rng(index, device), (64,), like=x)
                gradient = 2 * x
                if device.capabilities.trains:
                    _, gradient = backend.value_and_grad(lambda p: (ops.sum(p * p), ()))(x)
            return y, drawn, gradient

        with ThreadPoolExecutor(len(hosts)) as pool:
            results = list(pool.map(work, range(len(hosts))))
        for index, (y, drawn, gradient) in enumerate(results):
            self.assert_array(backend, y, hosts[index].astype(np.float64) @ hosts[index], "product")
            self.assert_array(backend, gradient, 2 * hosts[index], "gradient")
            alone = ops.uniform(backend.rng(index, device), (64,), like=backend.from_host(hosts[index], device))
            expected = backend.to_host(alone) if self.values else np.zeros(64)
            self.assert_array(backend, drawn, expected, "draw", tolerance=0.0)


class _Deliberate(Exception):
    """Raised by a check."""
