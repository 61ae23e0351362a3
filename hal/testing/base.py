"""What all groups of checks share: the backend under test, its device, exclusions and comparisons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from hal import registry
from hal.contract import Backend, Unavailable
from hal.contract.device import Device, PrecisionName
from hal.contract.plan import Plan
from hal.tensor import Ops
from hal.testing.case import Case
from hal.testing.tolerances import TOLERANCES, assert_close
from hal.types import Array

__all__ = ["ConformanceBase", "Variant", "dtype_of", "probed"]

_PROBED: dict[type, tuple[Backend, Device | None, str]] = {}


def dtype_of(ops: Ops, precision: PrecisionName) -> Any:
    """The dtype of layers' inputs in a precision; TF32 is a way to multiply fp32."""
    return getattr(ops, {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision])


class Variant:
    """A case in one precision, storage order and choice of algorithms.

    The storage order ``reversed`` is a permuted view of arrays stored back to front.
    """

    def __init__(
        self, case: Case, precision: PrecisionName, storage: str, algorithm: Mapping[str, str] | None = None
    ) -> None:
        self.case = case
        self.precision: PrecisionName = precision
        self.storage = storage
        self.algorithm = dict(algorithm or {})

    def keys(self, backend: Backend) -> dict[str, Any]:
        """Keys of the plan that it runs under.

        A runtime that compiles whole steps compiles each check whole, which costs it less than op by op. Elsewhere
        each op is one of the framework's own, and compiling would test the compiler.
        """
        stored = {} if self.storage == "reversed" else {"layout": self.storage}
        compile_keys = {"compile": "eager"} if backend.compiles_gradients else {}
        return {"precision": self.precision, **compile_keys, **stored, **self.algorithm}

    def __str__(self) -> str:
        return "-".join([str(self.case), self.precision, self.storage, *self.algorithm.values()])


class ConformanceBase:
    """Hooks for the author of a backend, and what the checks are written with."""

    backend_name: ClassVar[str]
    """The name that the backend is registered under."""

    values: ClassVar[bool] = True
    """False for a backend that computes shapes alone: shapes and dtypes are compared, numbers are not."""

    cannot: ClassVar[Mapping[str, str]] = {}
    """What this backend can never do, with the reason; it is skipped.

    A key is the name of a test (``test_from_dlpack``), one with its parameters
    (``test_values[conv2d/same-bf16-nchw]``), or an op; ``*`` stands for anything.
    """

    not_yet: ClassVar[Mapping[str, str]] = {}
    """What this backend cannot do yet, with the reason; keys as in :attr:`cannot`. It must fail: once it passes, the
    run fails until the entry is removed."""

    coarser: ClassVar[Mapping[str, float]] = {}
    """Ops whose fp32 results are coarser than arithmetic in fp32 is, as vendors' libraries that approximate a function
    have it: by how many times the tolerance is larger. Say why beside it."""

    @classmethod
    def make_backend(cls) -> Backend:
        """The backend under test; override it to test one that is not registered."""
        return registry.backend(cls.backend_name)

    def settings(self) -> Mapping[str, Any] | None:
        """The framework's global settings that ``settings`` may change, read from the framework; None: there are none.

        The entry ``threads`` is compared with what a plan asked for.
        """
        return None

    # Collection

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend, if it can run here; hardware that is absent skips."""
        backend, device, reason = probed(type(self))
        if device is None:
            pytest.skip(reason)
        return backend

    @pytest.fixture
    def device(self, backend: Backend) -> Device | None:
        """The backend's first device."""
        return probed(type(self))[1]

    @pytest.fixture
    def ops(self, backend: Backend, device: Device) -> Ops:
        """The neutral API of the device."""
        return backend.ops(device)

    @pytest.fixture
    def trains(self, device: Device) -> None:
        """For checks of what training alone needs: a device that only infers skips them."""
        if not device.capabilities.trains:
            pytest.skip(f"{device} only infers")

    @pytest.fixture(autouse=True)
    def _exclude(self, request: pytest.FixtureRequest) -> None:
        names = _names(request.node)
        for pattern, reason in self.cannot.items():
            if _matches(pattern, names):
                pytest.skip(f"cannot: {reason}")
        for pattern, reason in self.not_yet.items():
            if _matches(pattern, names):
                request.node.add_marker(pytest.mark.xfail(reason=f"not yet: {reason}", strict=True))

    @pytest.fixture(autouse=True)
    def _settings(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Settings of an fp32 plan, since a framework's own defaults may be to round the inputs of products.

        One thread, where that can be chosen: the arrays are small, and threads that wait for each other on a busy
        machine take most of the time.
        """
        if "device" not in request.fixturenames:
            yield
            return
        backend, device = request.getfixturevalue("backend"), request.getfixturevalue("device")
        threads = 1 if device.capabilities.threads else None
        with backend.settings(self.plan(device, precision="fp32", threads=threads), device):
            yield

    # For the checks

    def put(
        self, backend: Backend, device: Device, array: np.ndarray, *, axes: str = "", storage: str = "nhwc"
    ) -> Array:
        """A host array on the device in a storage order."""
        if storage != "reversed":
            return backend.from_host(array, device, axes=axes, layout=storage)
        back_to_front = tuple(reversed(range(array.ndim)))
        stored = backend.from_host(np.ascontiguousarray(array.transpose(back_to_front)), device)
        return backend.ops(device).permute_dims(stored, back_to_front)

    def assert_array(
        self,
        backend: Backend,
        actual: Array,
        expected: np.ndarray,
        what: str,
        *,
        tolerance: float = TOLERANCES["fp32"].values,
        dtype: Any = None,
        scale: float | None = None,
    ) -> None:
        """Assert shape, dtype (if given) and, where the backend has them, values."""
        assert tuple(actual.shape) == expected.shape, f"{what}: shape is {tuple(actual.shape)}, not {expected.shape}"
        if dtype is not None:
            assert actual.dtype == dtype, f"{what}: dtype is {actual.dtype}, should be {dtype}"
        if self.values:
            assert_close(backend.to_host(actual), expected, tolerance, what, scale=scale)

    @staticmethod
    def plan(device: Device, **keys: Any) -> Plan:
        """A resolved plan."""
        return Plan(**keys).resolve(device)


def probed(suite: type[ConformanceBase]) -> tuple[Backend, Device | None, str]:
    """A suite's backend, its first device, and why there is none. A device that should be there and fails raises."""
    if suite not in _PROBED:
        backend = suite.make_backend()
        state = backend.probe()
        if isinstance(state, Unavailable):
            _PROBED[suite] = backend, None, state.reason
        else:
            _PROBED[suite] = backend, backend.devices()[0], ""
    return _PROBED[suite]


def _names(node: Any) -> tuple[str, ...]:
    """What exclusions may call a test: its id, its function, the op of its case."""
    parameters = node.callspec.params.values() if hasattr(node, "callspec") else ()
    variants = [getattr(value, "case", value) for value in parameters]
    return (node.name, node.originalname, *(case.op for case in variants if isinstance(case, Case)))


def _matches(pattern: str, names: tuple[str, ...]) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return any(re.fullmatch(expression, name) for name in names)
