"""A model of how good and how costly untried plans are, from those tried: a Gaussian process over the plan's keys.

Spaces of plans are small, mixed and nearly multiplicative: a precision brings about the same factor at most batch
sizes, with exceptions. So the logarithm of the objective is modeled, by a sum of one kernel a key (main effects) and
their product (interactions). Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5;
expected improvement as in Jones, Schonlau and Welch, Journal of Global Optimization 13 (1998).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = ["GaussianProcess", "expected_improvement"]

Floats = NDArray[np.float64]

_NUMERIC = ("batch", "threads", "accumulate")
_DRAWS = 48
_REFINEMENTS = 24
_JITTER = 1e-8


@dataclass(frozen=True)
class _Shape:
    """Parameters of the kernel: a length for each key, the share of the main effects, the noise."""

    lengths: Floats
    main: float
    noise: float


class GaussianProcess:
    """A Gaussian process over points that are dicts of plan keys.

    Args:
        points: where values are known.
        values: there; any scale.
        noise: least standard deviation of a value by measurement, in the unit of the values.
        seed: of the search for the kernel's parameters.
    """

    def __init__(
        self, points: Sequence[Mapping[str, object]], values: Sequence[float], *, noise: float = 0.02, seed: int = 0
    ) -> None:
        if not points or len(points) != len(values):
            raise ValueError(f"{len(points)} points and {len(values)} values; give one value for each point")
        self._names = tuple(points[0])
        self._points = list(points)
        with _one_thread():
            self._fit(values, noise, seed)

    def _fit(self, values: Sequence[float], noise: float, seed: int) -> None:
        raw = np.asarray(values, np.float64)
        self._mean = float(raw.mean())
        self._scale = float(raw.std()) or 1.0
        # Three equal values by accident would make everything else look certain.
        self._scale = max(self._scale, 0.1)
        self._y = (raw - self._mean) / self._scale
        self._least_noise = noise / self._scale
        distances = self._distances(self._points, self._points)
        self._shape = self._fitted(distances, np.random.default_rng(seed))
        covariance = self._kernel(distances, self._shape) + self._diagonal(self._shape)
        self._factor = np.linalg.cholesky(covariance).astype(np.float64)
        self._weights = _solve(self._factor, self._y)

    def predict(self, points: Sequence[Mapping[str, object]]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the value at some points, without the noise of measuring."""
        across = self._kernel(self._distances(points, self._points), self._shape)
        mean = across @ self._weights
        half = np.linalg.solve(self._factor, across.T)
        variance = np.maximum(1.0 - np.sum(half * half, axis=0), 1e-12)
        return self._mean + self._scale * mean, self._scale * np.sqrt(variance)

    def draw(self, points: Sequence[Mapping[str, object]], count: int, seed: int = 0) -> Floats:
        """Values at some points that are possible together, shape (count, points)."""
        with _one_thread():
            return self._drawn(points, count, seed)

    def _drawn(self, points: Sequence[Mapping[str, object]], count: int, seed: int) -> Floats:
        across = self._kernel(self._distances(points, self._points), self._shape)
        half = np.linalg.solve(self._factor, across.T)
        covariance = self._kernel(self._distances(points, points), self._shape) - half.T @ half
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        normal = np.random.default_rng(seed).standard_normal((len(points), count))
        drawn: Floats = self._mean + self._scale * ((across @ self._weights)[:, None] + root @ normal).T
        return drawn

    def _distances(self, a: Sequence[Mapping[str, object]], b: Sequence[Mapping[str, object]]) -> Floats:
        """Distance by each key, shape (keys, len(a), len(b))."""
        found = np.zeros((len(self._names), len(a), len(b)))
        for index, name in enumerate(self._names):
            left, right = [p[name] for p in a], [p[name] for p in b]
            if name in _NUMERIC and all(isinstance(x, int) for x in [*left, *right]):
                x = np.log2(np.asarray(left, np.float64))
                y = np.log2(np.asarray(right, np.float64))
                found[index] = np.abs(x[:, None] - y[None, :])
            else:
                found[index] = [[float(x != y) for y in right] for x in left]
        return found

    @staticmethod
    def _kernel(distances: Floats, shape: _Shape) -> Floats:
        if not len(distances):
            return np.ones(distances.shape[1:])
        each = np.exp(-0.5 * (distances / shape.lengths[:, None, None]) ** 2)
        kernel: Floats = shape.main * each.mean(axis=0) + (1 - shape.main) * each.prod(axis=0)
        return kernel

    def _diagonal(self, shape: _Shape) -> Floats:
        noise: Floats = (max(shape.noise, self._least_noise) ** 2 + _JITTER) * np.eye(len(self._points))
        return noise

    def _fitted(self, distances: Floats, rng: np.random.Generator) -> _Shape:
        """The kernel's parameters with the highest posterior density, by random search and refinement."""
        keys = len(distances)
        best, best_density = _Shape(np.full(keys, 2.0), 0.6, 0.05), -math.inf
        for index in range(_DRAWS + _REFINEMENTS):
            if index == 0:
                shape = best
            elif index < _DRAWS:
                lengths = np.exp(rng.normal(math.log(2.0), 0.8, keys))
                shape = _Shape(lengths, float(rng.beta(3, 2)), float(np.exp(rng.normal(math.log(0.05), 0.7))))
            else:
                lengths = best.lengths * np.exp(rng.normal(0, 0.25, keys))
                main = float(np.clip(best.main + rng.normal(0, 0.1), 0.05, 0.95))
                shape = _Shape(lengths, main, best.noise * float(np.exp(rng.normal(0, 0.25))))
            density = self._log_density(distances, shape)
            if density > best_density:
                best, best_density = shape, density
        return best

    def _log_density(self, distances: Floats, shape: _Shape) -> float:
        covariance = self._kernel(distances, shape) + self._diagonal(shape)
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return -math.inf
        half = np.linalg.solve(factor, self._y)
        likelihood = -0.5 * float(half @ half) - float(np.log(np.diag(factor)).sum())
        prior = -0.5 * float(np.sum((np.log(shape.lengths / 2.0) / 0.8) ** 2))
        prior += -0.5 * (math.log(shape.noise / 0.05) / 0.7) ** 2
        return likelihood + prior + 2 * math.log(shape.main) + math.log(1 - shape.main)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """How much a value is expected to exceed the best so far; larger values are better."""
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
    gain: Floats = (mean - best) * below + deviation * density
    return np.maximum(gain, 0.0)


def _one_thread() -> AbstractContextManager[Any]:
    """For matrices as small as these, threads cost more than they bring, and disturb who measures beside."""
    limited: AbstractContextManager[Any] = threadpool_limits(1)
    return limited


def _solve(factor: Floats, y: Floats) -> Floats:
    return np.asarray(np.linalg.solve(factor.T, np.linalg.solve(factor, y)), np.float64)
