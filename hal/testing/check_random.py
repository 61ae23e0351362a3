"""Checks of random keys and what is drawn with them. Seeds are fixed, and bounds five standard deviations wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hal import ops as dispatched
from hal.contract import Backend
from hal.contract.device import Device
from hal.errors import ShapeError, UnsupportedError
from hal.tensor import Ops
from hal.testing.base import ConformanceBase, dtype_of
from hal.testing.tolerances import TOLERANCES
from hal.types import Array

__all__ = ["RandomChecks"]

_COUNT = 40_000
_BOUND = 5 / _COUNT**0.5


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


class RandomChecks(ConformanceBase):
    """Keys, distributions, dropout."""

    @pytest.fixture
    def like(self, backend: Backend, device: Device) -> Array:
        """An array whose dtype and device the draws have."""
        return backend.from_host(np.zeros(1, np.float32), device)

    def _draw(
        self, backend: Backend, ops: Ops, key: Any, like: Array, shape: tuple[int, ...] = (_COUNT,)
    ) -> np.ndarray:
        drawn = ops.uniform(key, shape, like=like)
        assert tuple(drawn.shape) == shape
        return backend.to_host(drawn) if self.values else np.zeros(shape)

    def test_key_repeats(self, backend: Backend, device: Device, ops: Ops, like: Array) -> None:
        """Equal keys draw equally, also after other draws; hal.ops draws the same."""
        first = self._draw(backend, ops, backend.rng(3, device), like)
        self._draw(backend, ops, backend.rng(4, device), like)
        assert np.array_equal(first, self._draw(backend, ops, backend.rng(3, device), like))
        again = dispatched.uniform(backend.rng(3, device), (_COUNT,), like=like)
        self.assert_array(backend, again, first, "hal.ops.uniform", tolerance=0.0)

    def test_keys_differ(self, backend: Backend, device: Device, ops: Ops, like: Array) -> None:
        """Other seeds, and keys folded or split from one key, draw independently of each other and of it."""
        key = backend.rng(0, device)
        keys = [key, backend.rng(1, device), ops.fold_in(key, 0), ops.fold_in(key, 1), ops.fold_in(key, 2)]
        keys += [ops.fold_in(ops.fold_in(key, 1), 2), ops.fold_in(ops.fold_in(key, 2), 1)]
        draws = [self._draw(backend, ops, k, like) for k in keys]
        parts = [self._draw(backend, ops, k, like) for k in ops.split_key(backend.rng(9, device), 3)]
        assert len(parts) == 3
        if self.values:
            for group in (draws, parts):
                for i, a in enumerate(group):
                    for b in group[:i]:
                        assert abs(_correlation(a, b)) < _BOUND

    def test_fold_in_repeats(self, backend: Backend, device: Device, ops: Ops, like: Array) -> None:
        """Folding a number into a key gives one key, whichever way it is called."""
        for data in (0, 1, 2**31 - 1):
            a = self._draw(backend, ops, ops.fold_in(backend.rng(5, device), data), like)
            b = self._draw(backend, ops, dispatched.fold_in(backend.rng(5, device), data), like)
            assert np.array_equal(a, b)
        a, b = (
            self._draw(backend, ops, split(backend.rng(5, device), 2)[1], like)
            for split in (ops.split_key, dispatched.split_key)
        )
        assert np.array_equal(a, b)

    def test_large_seeds(self, backend: Backend, device: Device, ops: Ops, like: Array) -> None:
        """Seeds of 32 bits are taken as they are."""
        draws = [self._draw(backend, ops, backend.rng(seed, device), like) for seed in (2**32 - 1, 2**31, 0)]
        if self.values:
            assert not np.array_equal(draws[0], draws[1])
            assert not np.array_equal(draws[0], draws[2])

    def test_uniform_distribution(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Mean, variance and range of uniform numbers, in each precision."""
        for precision in device.capabilities.supported_precisions():
            dtype = dtype_of(ops, precision)
            like = ops.cast(backend.from_host(np.zeros(1, np.float32), device), dtype)
            drawn = ops.uniform(backend.rng(11, device), (200, _COUNT // 200), like=like)
            assert drawn.dtype == dtype
            assert tuple(drawn.shape) == (200, _COUNT // 200)
            if self.values:
                host = backend.to_host(ops.cast(drawn, ops.float32)).astype(np.float64)
                coarse = TOLERANCES[precision].values  # a narrow type rounds what it draws
                assert host.min() >= 0
                assert host.max() < 1 if precision == "fp32" else host.max() <= 1
                assert abs(host.mean() - 0.5) < _BOUND * 12**-0.5 + coarse
                assert abs(host.var() - 1 / 12) < _BOUND / 180**0.5 + coarse

    def test_normal_distribution(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Mean, variance, skewness and tails of normal numbers, in each precision."""
        for precision in device.capabilities.supported_precisions():
            dtype = dtype_of(ops, precision)
            like = ops.cast(backend.from_host(np.zeros(1, np.float32), device), dtype)
            drawn = ops.normal(backend.rng(12, device), (_COUNT,), like=like)
            assert drawn.dtype == dtype
            if self.values:
                host = backend.to_host(ops.cast(drawn, ops.float32)).astype(np.float64)
                coarse = TOLERANCES[precision].values
                assert abs(host.mean()) < _BOUND + coarse
                assert abs(host.var() - 1) < _BOUND * 2**0.5 + 2 * coarse
                assert abs((host**3).mean()) < _BOUND * 15**0.5 + 3 * coarse
                assert 0.02 < (np.abs(host) > 2).mean() < 0.07

    def test_empty_draws(self, backend: Backend, device: Device, ops: Ops, like: Array) -> None:
        """No numbers, and one."""
        for draw in (ops.uniform, ops.normal):
            assert tuple(draw(backend.rng(0, device), (0, 3), like=like).shape) == (0, 3)
            assert tuple(draw(backend.rng(0, device), (), like=like).shape) == ()

    def test_dropout_statistics(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Dropout zeroes its share and scales the rest, in each precision."""
        for precision in device.capabilities.supported_precisions():
            x = ops.cast(backend.from_host(np.ones((200, 200), np.float32), device), dtype_of(ops, precision))
            y = ops.dropout(x, 0.25, backend.rng(21, device))
            assert y.dtype == x.dtype
            assert tuple(y.shape) == (200, 200)
            if self.values:
                host = backend.to_host(ops.cast(y, ops.float32))
                assert abs((host == 0).mean() - 0.25) < _BOUND * (0.25 * 0.75) ** 0.5
                kept = host[host != 0]
                assert np.abs(kept * 0.75 - 1).max() <= TOLERANCES[precision].values
                # Rows and columns each keep their share: the mask is not repeated along an axis.
                assert (host == 0).mean(axis=0).std() < 0.1
                assert (host == 0).mean(axis=1).std() < 0.1

    def test_dropout_follows_its_key(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Equal keys drop the same values, other keys others."""
        x = backend.from_host(np.ones((64, 64), np.float32), device)
        a, b, c = (ops.dropout(x, 0.5, backend.rng(seed, device)) for seed in (1, 1, 2))
        if self.values:
            hosts = [backend.to_host(y) for y in (a, b, c)]
            assert np.array_equal(hosts[0], hosts[1])
            assert abs(_correlation(hosts[0], hosts[2])) < 5 / 64

    @pytest.mark.usefixtures("trains")
    def test_dropout_gradient(self, backend: Backend, device: Device, ops: Ops) -> None:
        """The gradient passes where the value passed, with the same scale."""
        x = backend.from_host(np.full((32, 32), 2.0, np.float32), device)
        key = backend.rng(5, device)
        _, gradient = backend.value_and_grad(lambda x: (ops.sum(ops.dropout(x, 0.5, key)), ()))(x)
        expected = backend.to_host(ops.dropout(x, 0.5, key)) / 2 if self.values else np.zeros((32, 32))
        self.assert_array(backend, gradient, expected, "gradient")

    def test_dropout_rates(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Rate 0 keeps all; a rate outside [0, 1) is refused."""
        host = np.array([1.0, -2.0], np.float32)
        x = backend.from_host(host, device)
        self.assert_array(backend, ops.dropout(x, 0.0, backend.rng(0, device)), host, "dropout of rate 0")
        for rate in (1.0, -0.1):
            with pytest.raises(ShapeError, match="at least 0 and less than 1"):
                ops.dropout(x, rate, backend.rng(0, device))

    def test_attention_dropout(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Attention drops those of its weights that dropout of the same key would drop, and scales the others."""
        shape = (2, 3, 4, 8)
        query, key = (backend.from_host(np.zeros(shape, np.float32), device) for _ in range(2))
        value = backend.from_host(np.broadcast_to(np.eye(4, 4, dtype=np.float32), (2, 3, 4, 4)).copy(), device)
        weights = ops.attention(query, key, value, dropout=0.5, rng=backend.rng(3, device))
        uniform = backend.from_host(np.full((2, 3, 4, 4), 0.25, np.float32), device)
        expected = ops.dropout(uniform, 0.5, backend.rng(3, device))
        host = backend.to_host(expected) if self.values else np.zeros((2, 3, 4, 4))
        self.assert_array(backend, weights, host, "attention with dropout")
        with pytest.raises(UnsupportedError, match="without a random key"):
            ops.attention(query, key, value, dropout=0.5)
