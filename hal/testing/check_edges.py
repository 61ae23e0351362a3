"""Checks of what is the same on every backend where a definition leaves a choice: kinks, ties, masks, dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hal.contract import Backend
from hal.contract.device import Device
from hal.errors import UnsupportedError
from hal.tensor import Ops
from hal.testing.base import ConformanceBase
from hal.testing.ops import ORACLE
from hal.testing.oracle import F64
from hal.types import Array

__all__ = ["EdgeChecks"]

_INF, _NAN = float("inf"), float("nan")
_ZERO = [-1.0, 0.0, 1.0]

# Op, arguments, and the gradients with respect to each where the function has none: those of PyTorch, and 0 instead of
# NaN at the origin of hypot.
_KINKS: tuple[tuple[str, Callable[..., Any], list[Any], list[Any]], ...] = (
    ("relu", lambda o, x: o.relu(x), [_ZERO], [[0, 0, 1]]),
    ("leaky_relu", lambda o, x: o.leaky_relu(x, 0.25), [_ZERO], [[0.25, 0.25, 1]]),
    ("elu", lambda o, x: o.elu(x), [[0.0, 1.0]], [[1, 1]]),
    ("abs", lambda o, x: o.abs(x), [_ZERO], [[-1, 0, 1]]),
    ("sqrt", lambda o, x: o.sqrt(x), [[0.0, 4.0]], [[_INF, 0.25]]),
    ("clip", lambda o, x: o.clip(x, -1, 1), [[-2.0, -1, 0, 1, 2]], [[0, 1, 1, 1, 0]]),
    ("clip-below", lambda o, x: o.clip(x, min=0), [_ZERO], [[0, 1, 1]]),
    ("clip-relu6", lambda o, x: o.clip(o.relu(x), 0, 6), [[-1.0, 0, 6, 7]], [[0, 0, 1, 0]]),
    (
        "clip-arrays",
        lambda o, x, low, high: o.clip(x, low, high),
        [[-2.0, -1, 1, 2], [-1.0] * 4, [1.0] * 4],
        [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
    ),
    ("maximum", lambda o, x, y: o.maximum(x, y), [_ZERO, [0.0] * 3], [[0, 0.5, 1], [1, 0.5, 0]]),
    ("minimum", lambda o, x, y: o.minimum(x, y), [_ZERO, [0.0] * 3], [[1, 0.5, 0], [0, 0.5, 1]]),
    ("max", lambda o, x: o.max(x, axis=1), [[[2.0, 2, 0, 2, 2]]], [[[0.25, 0.25, 0, 0.25, 0.25]]]),
    ("min", lambda o, x: o.min(x), [[[0.0, 0, 1], [2, 0, 0]]], [[[0.25, 0.25, 0], [0, 0.25, 0.25]]]),
    ("sort", lambda o, x: o.sort(x) * o.asarray([1.0, 2.0, 3.0]), [[1.0, 1, 0]], [[2, 3, 1]]),
    ("topk", lambda o, x: o.topk(x, 2)[0] * o.asarray([1.0, 2.0]), [[1.0, 0, 1, 1]], [[1, 0, 2, 0]]),
    ("prod", lambda o, x: o.prod(x, axis=1), [[[0.0, 2, 3], [0, 0, 3]]], [[[6, 0, 0], [0, 0, 0]]]),
    (
        "cumulative_prod",
        lambda o, x: o.cumulative_prod(x, axis=1),
        [[[0.0, 2, 3], [0, 0, 3]]],
        [[[9, 0, 0], [1, 0, 0]]],
    ),
    ("pow", lambda o, x, y: o.pow(x, y), [[0.0, 0, 2], [0.0, 1, 0]], [[0, 1, 0], [0, 0, np.log(2.0)]]),
    ("atan2", lambda o, x, y: o.atan2(x, y), [[0.0], [0.0]], [[0], [0]]),
    ("hypot", lambda o, x, y: o.hypot(x, y), [[0.0, 3], [0.0, 4]], [[0, 0.6], [0, 0.8]]),
    ("copysign", lambda o, x, y: o.copysign(x, y), [[0.0, 2], [1.0, -1]], [[0, -1], [0, 0]]),
    ("std", lambda o, x: o.std(x, axis=1), [[[3.0, 3, 3]]], [[[0, 0, 0]]]),
    ("floor_divide", lambda o, x, y: o.floor_divide(x, y), [[5.0, 4], [3.0, 2]], [[0, 0], [0, 0]]),
    ("sign", lambda o, x: o.sign(x), [_ZERO], [[0, 0, 0]]),
    ("where", lambda o, x: o.where(x > 0, o.sqrt(x), x), [[-1.0, 4.0]], [[_NAN, 0.25]]),
    ("norm", lambda o, x: o.sqrt(o.sum(x * x)), [[0.0, 0.0]], [[_NAN, _NAN]]),
)


class EdgeChecks(ConformanceBase):
    """Where several answers would be right, one is."""

    def _gradients(self, backend: Backend, device: Device, fn: Callable[..., Array], arrays: list[np.ndarray]) -> Any:
        ops = backend.ops(device)
        # A runtime that compiles whole steps compiles this whole, which costs it less than op by op.
        whole = not backend.compiles_gradients
        plan = self.plan(device, precision="fp32", **({} if whole else {"compile": "eager"}))
        params = [backend.from_host(array, device) for array in arrays]
        differentiate = backend.value_and_grad(lambda params: (ops.sum(fn(*params)), ()), plan)
        return (backend.compile(differentiate, plan) if whole else differentiate)(params)[1]

    @pytest.mark.usefixtures("trains")
    @pytest.mark.parametrize("kink", _KINKS, ids=lambda kink: kink[0])
    def test_derivatives_at_kinks(self, backend: Backend, device: Device, ops: Ops, kink: Any) -> None:
        """Where a function has no derivative, every backend gives the same."""
        name, fn, arguments, expected = kink
        arrays = [np.asarray(x, np.float32) for x in arguments]
        found = self._gradients(backend, device, lambda *args: fn(ops, *args), arrays)
        for gradient, wanted in zip(found, expected, strict=True):
            self.assert_array(backend, gradient, np.asarray(wanted, np.float64), f"gradient of {name}")

    @pytest.mark.usefixtures("trains")
    def test_the_first_of_equal_values_in_a_window(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Of several largest values in a window of max-pooling, the first gets the gradient, row by row."""
        host = np.array([[0, 1, 2, 2], [1, 1, 2, 2]], np.float32).reshape(1, 2, 4, 1).repeat(2, axis=3)
        for layout in device.capabilities.layouts:
            for pool in device.capabilities.algorithms["pool"]:
                x = backend.from_host(host, device, axes="NHWC", layout=layout)
                if layout not in device.capabilities.needs.get(f"pool={pool}", {}).get("layout", (layout,)):
                    continue
                plan = self.plan(device, precision="fp32", compile="eager", layout=layout, pool=pool)
                _, gradient = backend.value_and_grad(lambda x: (ops.sum(ops.max_pool2d(x)), ()), plan)(x)
                wanted = np.array([[0, 1, 1, 0], [0, 0, 0, 0]], np.float64).reshape(1, 2, 4, 1).repeat(2, axis=3)
                self.assert_array(backend, gradient, wanted, f"max_pool2d, {layout}, {pool}")

    def test_relu_keeps_nan(self, backend: Backend, device: Device, ops: Ops) -> None:
        """The rectifier of NaN is NaN: a run that has diverged must not look sound."""
        if not self.values:
            pytest.skip("this backend computes no values")
        found = backend.to_host(ops.relu(backend.from_host(np.array([_NAN, -1, 0, 2], np.float32), device)))
        np.testing.assert_array_equal(found, [_NAN, 0, 0, 2])

    def test_infinities_in_windows(self, backend: Backend, device: Device, ops: Ops) -> None:
        """A window that holds nothing but -inf gives -inf, and one with inf gives inf, padded or not."""
        for value in (-_INF, _INF, float(np.finfo(np.float32).min)):
            host = np.full((1, 4, 4, 2), value, np.float32)
            host[0, :2, :2, 1] = 3.0
            for layout in device.capabilities.layouts:
                x = backend.from_host(host, device, axes="NHWC", layout=layout)
                choices: tuple[dict[str, Any], ...] = ({}, {"window": 3, "strides": 2, "padding": "same"})
                for options in choices:
                    expected = ORACLE.max_pool2d(host.astype(np.float64), **{"window": 2, **options})
                    self.assert_array(backend, ops.max_pool2d(x, **options), expected, f"{value}, {layout}, {options}")

    def test_a_query_that_may_look_nowhere(self, backend: Backend, device: Device, ops: Ops) -> None:
        """A masked row gives zeros and gets zeros for gradients, and disturbs no other row."""
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal((1, 2, steps, 3)).astype(np.float32) for steps in (3, 4, 4)]
        host = np.ones((1, 2, 3, 4), bool)
        host[0, 0, 1], host[0, 1, 2, 1:] = False, False
        mask = backend.from_host(host, device)
        placed = [backend.from_host(array, device) for array in arrays]
        scores = np.einsum("bhtf,bhsf->bhts", *(a.astype(np.float64) for a in arrays[:2])) / 3**0.5
        weights = np.where(host, np.exp(scores), 0.0)
        weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)
        expected: F64 = np.einsum("bhts,bhsf->bhtf", weights, arrays[2].astype(np.float64))
        self.assert_array(backend, ops.attention(*placed, mask=mask), expected, "attention")
        if not device.capabilities.trains:
            return
        query, key, value = self._gradients(
            backend, device, lambda *given: ops.attention(*given, mask=mask) ** 2, arrays
        )
        if not self.values:
            return
        found = [backend.to_host(gradient) for gradient in (query, key, value)]
        assert all(np.isfinite(gradient).all() for gradient in found), found
        assert not found[0][0, 0, 1].any(), "the query that looks nowhere has a gradient"
        wanted = np.einsum("bhts,bhtf->bhsf", weights, 2 * expected)
        self.assert_array(backend, value, wanted, "gradient of the values", tolerance=1e-4)

    def test_a_mask_of_numbers_that_hides_all(self, backend: Backend, device: Device, ops: Ops) -> None:
        """A row of -inf gives zeros, and zeros for gradients, the mask's own included; the lowest number hides none."""
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal((1, 2, steps, 3)).astype(np.float32) for steps in (3, 4, 4)]
        host = np.zeros((3, 4), np.float32)
        host[0], host[1], host[2, 2] = -_INF, -1e30, -_INF
        placed = [backend.from_host(array, device) for array in (*arrays, host)]
        expected = ORACLE.attention(*(array.astype(np.float64) for array in arrays), mask=np.maximum(host, -1e4))
        expected[:, :, 0], expected[:, :, 1] = 0.0, arrays[2].mean(axis=2, dtype=np.float64)
        self.assert_array(backend, ops.attention(*placed[:3], mask=placed[3]), expected, "attention")
        if not device.capabilities.trains:
            return
        found = self._gradients(
            backend, device, lambda *given: ops.attention(*given[:3], mask=given[3]) ** 2, [*arrays, host]
        )
        if self.values:
            hosts = [backend.to_host(gradient) for gradient in found]
            assert all(np.isfinite(gradient).all() for gradient in hosts), hosts
            assert not hosts[0][:, :, 0].any(), "the query that looks nowhere has a gradient"
            assert not hosts[3][0].any(), "the mask that hides all has a gradient"

    def test_labels_outside_the_classes(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Their loss is NaN, no logit gets a gradient from them, and the other losses are what they are."""
        logits = np.array([[0.5, 1.0, -1.0]] * 5, np.float32)
        for dtype in (np.int64, np.int32):
            labels = np.array([1, -1, 3, -100, 2], dtype)
            placed = backend.from_host(labels, device)
            expected = ORACLE.cross_entropy(logits.astype(np.float64), np.clip(labels, 0, 2))
            expected[1:4] = _NAN
            self.assert_array(
                backend, ops.cross_entropy(backend.from_host(logits, device), placed), expected, "cross_entropy"
            )
        if not device.capabilities.trains:
            return
        (gradient,) = self._gradients(backend, device, lambda x: ops.cross_entropy(x, placed), [logits])
        p = np.exp(logits[0].astype(np.float64))
        wanted = np.zeros((5, 3))
        wanted[0], wanted[4] = p / p.sum() - [0, 1, 0], p / p.sum() - [0, 0, 1]
        self.assert_array(backend, gradient, wanted, "gradient of cross_entropy")

    def test_ids_outside_the_table(self, backend: Backend, device: Device, ops: Ops) -> None:
        """An id outside of a table is an error or NaN, never a row."""
        if not self.values:
            pytest.skip("this backend computes no values")
        table = backend.from_host(np.arange(6, dtype=np.float32).reshape(2, 3), device)
        for wrong in (-1, 2):
            ids = backend.from_host(np.array([0, wrong], np.int64), device)
            try:
                rows = backend.to_host(ops.embedding(table, ids))
            except IndexError:
                continue
            assert rows[0].tolist() == [0, 1, 2]
            assert np.isnan(rows[1]).all(), f"id {wrong} of a table of 2 gives {rows[1]}"

    def test_float64(self, backend: Backend, device: Device, ops: Ops) -> None:
        """What is given float64 computes in float64; a device that has no float64 refuses it."""
        try:
            probe = backend.from_host(np.ones(1, np.float64), device)
        except UnsupportedError:
            pytest.skip(f"{device} refuses float64")
        assert probe.dtype == ops.float64, f"float64 becomes {probe.dtype}"
        for name, fn, shapes in _WIDE:
            # No number of these is one of fp32, so that a narrow one shows.
            hosts = [(np.arange(1, np.prod(shape) + 1).reshape(shape) / 7) ** 0.5 - 0.8 for shape in shapes]
            expected = fn(ORACLE, *hosts)
            found = fn(ops, *(backend.from_host(host, device) for host in hosts))
            for actual, wanted in zip(*(x if isinstance(x, tuple) else (x,) for x in (found, expected)), strict=True):
                self.assert_array(backend, actual, wanted, name, tolerance=1e-13, dtype=ops.float64)

    def test_mixed_dtypes(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Ops of hal refuse arrays of two dtypes, which frameworks treat differently; operators promote."""

        def put(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
            return backend.from_host(np.ones(shape, dtype), device)

        narrow = ops.cast(put((2, 3)), ops.float16)
        for call in (
            lambda: ops.linear(put((2, 3)), ops.cast(put((3, 4)), ops.float16)),
            lambda: ops.linear(put((2, 3)), put((3, 4)), ops.cast(put((4,)), ops.float16)),
            lambda: ops.conv2d(put((1, 2, 2, 1)), ops.cast(put((1, 1, 1, 1)), ops.float16)),
            lambda: ops.conv2d_transpose(put((1, 2, 2, 1)), ops.cast(put((1, 1, 1, 1)), ops.float16)),
            lambda: ops.attention(put((1, 1, 2, 2)), put((1, 1, 2, 2)), ops.cast(put((1, 1, 2, 2)), ops.float16)),
            lambda: ops.conv1d(put((1, 2, 1)), ops.cast(put((1, 1, 1)), ops.float16)),
            lambda: ops.einsum("ij,jk->ik", put((2, 3)), ops.cast(put((3, 4)), ops.float16)),
            lambda: ops.index_put(put((2, 3)), (put((1,), np.int32),), ops.cast(put((3,)), ops.float16)),
            lambda: ops.scatter(put((2,)), 0, put((1,), np.int32), ops.cast(put((1,)), ops.float16)),
            lambda: ops.rnn(put((1, 1, 1)), None, put((1, 1)), put((1, 1)), ops.cast(put((1,)), ops.float16)),
            lambda: ops.layer_norm(put((2, 3)), put((3,)), ops.cast(put((3,)), ops.float16)),
            lambda: ops.layer_norm(put((2, 3)), *(ops.cast(put((3,)), ops.float16),) * 2),
        ):
            with pytest.raises(UnsupportedError, match="cast them to one dtype"):
                call()
        with pytest.raises(UnsupportedError, match="must be integers"):
            ops.scatter(put((2,)), 0, put((1,)), put((1,)))
        with pytest.raises(UnsupportedError, match="use booleans"):
            ops.attention(*[put((1, 1, 2, 2))] * 3, mask=put((2, 2), np.int32))
        assert ops.group_norm(narrow, 3, put((3,)), put((3,))).dtype == ops.float16
        half = ops.cast(put((1, 1, 2, 2)), ops.float16)
        assert ops.attention(half, half, half, mask=put((2, 2))).dtype == ops.float16
        assert ops.layer_norm(narrow, put((3,)), put((3,))).dtype == ops.float16
        assert (put((2,)) + ops.cast(put((2,)), ops.float16)).dtype == ops.float32


# Where a constant, a bias or a cast could narrow: the others are one call into a library.
_WIDE: tuple[tuple[str, Callable[..., Any], list[tuple[int, ...]]], ...] = (
    ("linear", lambda o, *a: o.linear(*a), [(2, 3), (3, 4), (4,)]),
    ("conv2d", lambda o, *a: o.conv2d(*a), [(1, 3, 3, 2), (3, 3, 2, 1), (1,)]),
    ("conv2d_transpose", lambda o, *a: o.conv2d_transpose(*a, strides=2), [(1, 2, 2, 2), (3, 3, 2, 1), (1,)]),
    ("max_pool2d", lambda o, x: o.max_pool2d(x), [(1, 2, 2, 2)]),
    ("avg_pool2d", lambda o, x: o.avg_pool2d(x, 3, padding="same"), [(1, 4, 4, 1)]),
    ("attention", lambda o, *a: o.attention(*a), [(1, 1, 2, 3), (1, 1, 3, 3), (1, 1, 3, 2)]),
    ("batch_norm", lambda o, *a: o.batch_norm(*a, training=True), [(4, 2), (2,), (2,), (2,), (2,)]),
    ("layer_norm", lambda o, *a: o.layer_norm(*a), [(2, 4), (4,), (4,)]),
    ("lstm", lambda o, x, *a: o.lstm(x, None, *a)[0], [(1, 2, 2), (2, 4), (1, 4), (4,)]),
    ("sigmoid_cross_entropy", lambda o, *a: o.sigmoid_cross_entropy(*a), [(3,), (3,)]),
    ("squared_error", lambda o, *a: o.squared_error(*a), [(3,), (3,)]),
    ("log_softmax", lambda o, x: o.log_softmax(x), [(2, 3)]),
    ("gelu", lambda o, x: o.gelu(x), [(5,)]),
    ("gelu-exact", lambda o, x: o.gelu(x, exact=True), [(5,)]),
    ("erf", lambda o, x: o.erf(x), [(5,)]),
    ("group_norm", lambda o, x, *a: o.group_norm(x, 2, *a), [(2, 4), (4,), (4,)]),
    ("einsum", lambda o, *a: o.einsum("ij,jk->ik", *a), [(2, 3), (3, 2)]),
    ("leaky_relu", lambda o, x: o.leaky_relu(x), [(5,)]),
    ("softplus", lambda o, x: o.softplus(x), [(5,)]),
)
