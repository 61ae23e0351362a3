"""Properties of the image ops over random shapes, by Hypothesis: what no list of cases would have thought of."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hal.contract import Backend
from hal.contract.device import Device
from hal.tensor import Ops
from hal.testing.base import ConformanceBase
from hal.testing.ops import ORACLE

__all__ = ["PropertyChecks"]

_property = settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    database=None,
    # The suite's classes share their checks and one fixture, which is autouse and holds no state.
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture],
)
_pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
_sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))
_pads = st.tuples(st.integers(0, 2), st.integers(0, 2))
_paddings = st.one_of(st.just("same"), st.just("valid"), st.tuples(_pads, _pads))


def _array(*shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    return np.asarray(np.random.default_rng(count).permutation(count).reshape(shape) / 16 - 2, np.float32)


def _fits(size: tuple[int, int], reach: tuple[int, ...], padding: Any) -> bool:
    if padding == "same":
        return True
    pads = ((0, 0), (0, 0)) if padding == "valid" else padding
    return all(n + sum(p) >= r for n, p, r in zip(size, pads, reach, strict=True))


class PropertyChecks(ConformanceBase):
    """Convolutions and pooling against the oracle."""

    @_property
    @given(
        size=_sizes,
        window=_pairs,
        strides=_pairs,
        dilation=_pairs,
        padding=_paddings,
        groups=st.sampled_from([1, 2]),
        batch=st.integers(0, 2),
    )
    def test_any_conv2d(
        self,
        *,
        backend: Backend,
        device: Device,
        ops: Ops,
        size: tuple[int, int],
        window: tuple[int, int],
        strides: tuple[int, int],
        dilation: tuple[int, int],
        padding: Any,
        groups: int,
        batch: int,
    ) -> None:
        """Any convolution whose window fits."""
        if not _fits(size, tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)), padding):
            return
        arrays = (_array(batch, *size, 2 * groups), _array(*window, 2, 2 * groups))
        options: dict[str, Any] = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
        expected = ORACLE.conv2d(*(a.astype(np.float64) for a in arrays), **options)
        x, kernel = (
            backend.from_host(a, device, axes=axes, layout=device.capabilities.layouts[0])
            for a, axes in zip(arrays, ("NHWC", "HWIO"), strict=True)
        )
        self.assert_array(backend, ops.conv2d(x, kernel, **options), expected, "conv2d", dtype=ops.float32)

    @_property
    @given(size=_sizes, window=_pairs, strides=_pairs, padding=st.sampled_from(["same", "valid"]))
    def test_any_conv2d_transpose(
        self,
        *,
        backend: Backend,
        device: Device,
        ops: Ops,
        size: tuple[int, int],
        window: tuple[int, int],
        strides: tuple[int, int],
        padding: Any,
    ) -> None:
        """Any transposed convolution is the adjoint of the convolution that it is named after."""
        arrays = (_array(2, *size, 2), _array(*window, 2, 3))
        wide, kernel = (a.astype(np.float64) for a in arrays)
        expected = ORACLE.conv2d_transpose(wide, kernel, strides=strides, padding=padding)
        if padding == "same":
            probe = np.random.default_rng(0).standard_normal(expected.shape)
            forward = ORACLE.conv2d(probe, kernel.swapaxes(2, 3), strides=strides, padding="same")
            assert np.isclose((forward * wide).sum(), (probe * expected).sum()), "the oracle contradicts itself"
        x, k = (backend.from_host(a, device) for a in arrays)
        actual = ops.conv2d_transpose(x, k, strides=strides, padding=padding)
        self.assert_array(backend, actual, expected, "conv2d_transpose", dtype=ops.float32)

    @_property
    @given(size=_sizes, window=_pairs, strides=_pairs, padding=_paddings, kind=st.sampled_from(["max", "avg"]))
    def test_any_pool2d(
        self,
        *,
        backend: Backend,
        device: Device,
        ops: Ops,
        size: tuple[int, int],
        window: tuple[int, int],
        strides: tuple[int, int],
        padding: Any,
        kind: str,
    ) -> None:
        """Any pooling whose windows fit and each hold a value."""
        explicit = () if isinstance(padding, str) else tuple(zip(padding, window, strict=True))
        if not _fits(size, window, padding) or any(max(pads) >= k for pads, k in explicit):
            return
        host = _array(2, *size, 2)
        expected = getattr(ORACLE, f"{kind}_pool2d")(host.astype(np.float64), window, strides=strides, padding=padding)
        x = backend.from_host(host, device, axes="NHWC", layout=device.capabilities.layouts[0])
        actual = getattr(ops, f"{kind}_pool2d")(x, window, strides=strides, padding=padding)
        self.assert_array(backend, actual, expected, f"{kind}_pool2d", dtype=ops.float32)
