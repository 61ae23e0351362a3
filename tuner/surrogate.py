"""A model of how good and how costly untried plans are, from those tried: a Gaussian process over the plan's keys.

Spaces of plans are small, mixed and nearly multiplicative: a precision brings about the same factor at most batch
sizes, with exceptions. So the logarithm of the objective is modeled, by a sum of one kernel a key (main effects) and
their product (interactions). Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5;
expected improvement as in Jones, Schonlau and Welch, Journal of Global Optimization 13 (1998).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from hal.tuner.distance import Codes, Distance, Floats

__all__ = ["MOST_FITTED", "MOST_POINTS", "GaussianProcess", "expected_improvement"]

MOST_POINTS = 300
"""Points that a model is made of: its cost grows with the cube of their number, and more hardly change it."""

MOST_FITTED = 100
"""Points that the parameters of the kernel are fitted to, which is done many times."""

_DRAWS, _STEPS, _REFINEMENTS = 48, 3, 12
"""The kernel's parameters are the best of so many draws, and then of so many near the best, in so many steps."""

_JITTER = 1e-8


@dataclass(frozen=True)
class _Shape:
    """Parameters of the kernel: a length for each key, the share of the main effects, the noise."""

    lengths: Floats
    main: float
    noise: float


class GaussianProcess:
    """A Gaussian process over plans.

    Args:
        distance: of plans.
        points: where values are known, as codes of that distance, shape (points, keys).
        values: there; any scale.
        noise: least standard deviation of a value by measurement, in the unit of the values.
        seed: of the search for the kernel's parameters.
    """

    def __init__(
        self, distance: Distance, points: Codes, values: Sequence[float], *, noise: float = 0.02, seed: int = 0
    ) -> None:
        if not len(points) or len(points) != len(values):
            raise ValueError(f"{len(points)} points and {len(values)} values; give one value for each point")
        raw = np.asarray(values, np.float64)
        telling = _telling(raw)
        self._distance, self._points = distance, points[telling]
        with _one_thread():
            self._fit(raw[telling], noise, seed)

    def _fit(self, raw: Floats, noise: float, seed: int) -> None:
        self._mean = float(raw.mean())
        self._scale = float(raw.std()) or 1.0
        # Three equal values by accident would make everything else look certain.
        self._scale = max(self._scale, 0.1)
        y = (raw - self._mean) / self._scale
        self._least_noise = noise / self._scale
        rng = np.random.default_rng(seed)
        some = np.arange(len(y)) if len(y) <= MOST_FITTED else rng.choice(len(y), MOST_FITTED, replace=False)
        self._shape = self._fitted(self._points[some], y[some], rng)
        noise = max(self._shape.noise, self._least_noise) ** 2 + _JITTER
        covariance = self._kernel(self._points, self._points, self._shape) + noise * np.eye(len(y))
        self._inverse = np.linalg.inv(np.linalg.cholesky(covariance))
        self._weights = self._inverse.T @ (self._inverse @ y)

    def predict(self, points: Codes) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the value at some points, without the noise of measuring."""
        with _one_thread():
            across = self._kernel(points, self._points, self._shape)
            half = across @ self._inverse.T
            variance = np.maximum(1.0 - np.sum(half * half, axis=1), 1e-12)
            return self._mean + self._scale * (across @ self._weights), self._scale * np.sqrt(variance)

    def draw(self, points: Codes, count: int, seed: int = 0) -> Floats:
        """Values at some points that are possible together, shape (count, points).

        The work grows with the cube of the number of points.
        """
        with _one_thread():
            across = self._kernel(points, self._points, self._shape)
            half = across @ self._inverse.T
            values, vectors = np.linalg.eigh(self._kernel(points, points, self._shape) - half @ half.T)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            normal = np.random.default_rng(seed).standard_normal((len(points), count))
            drawn: Floats = self._mean + self._scale * ((across @ self._weights)[:, None] + root @ normal).T
            return drawn

    def _kernel(self, a: Codes, b: Codes, shape: _Shape) -> Floats:
        """How alike the values at two sets of points are, shape (len(a), len(b))."""
        return np.asarray(self._kernels(a, b, [shape])[0])

    def _kernels(self, a: Codes, b: Codes, shapes: Sequence[_Shape]) -> Floats:
        """The kernel for several parameters at once, shape (len(shapes), len(a), len(b))."""
        tables = self._distance.tables()
        total, product = np.zeros((len(shapes), len(a), len(b))), np.ones((len(shapes), len(a), len(b)))
        for index, table in enumerate(tables):
            lengths = np.array([shape.lengths[index] for shape in shapes])
            alike = np.exp(-0.5 * table / lengths[:, None, None] ** 2)[:, a[:, index]][:, :, b[:, index]]
            total += alike
            product *= alike
        main = np.array([shape.main for shape in shapes])[:, None, None]
        return np.asarray(main * total / len(tables) + (1 - main) * product if tables else product)

    def _fitted(self, points: Codes, y: Floats, rng: np.random.Generator) -> _Shape:
        """The kernel's parameters with the highest posterior density, by random search and refinement."""
        keys = points.shape[1]
        best = _Shape(np.full(keys, 2.0), 0.6, 0.05)
        tried = [best]
        for _ in range(_DRAWS - 1):
            lengths = np.exp(rng.normal(math.log(2.0), 0.8, keys))
            tried.append(_Shape(lengths, float(rng.beta(3, 2)), float(np.exp(rng.normal(math.log(0.05), 0.7)))))
        best_density = -math.inf
        for step in range(_STEPS + 1):
            densities = self._log_densities(points, y, tried)
            if float(densities.max()) > best_density:
                best, best_density = tried[int(densities.argmax())], float(densities.max())
            tried = [_near(best, 0.3 / (step + 1), rng) for _ in range(_REFINEMENTS)]
        return best

    def _log_densities(self, points: Codes, y: Floats, shapes: Sequence[_Shape]) -> Floats:
        """The logarithm of the posterior density of each set of parameters, up to a constant."""
        noise = np.array([max(shape.noise, self._least_noise) ** 2 + _JITTER for shape in shapes])
        covariances = self._kernels(points, points, shapes) + noise[:, None, None] * np.eye(len(points))
        factors = np.linalg.cholesky(covariances)
        halves = np.linalg.solve(factors, np.broadcast_to(y[:, None], (len(shapes), len(y), 1)))[..., 0]
        likelihoods = -0.5 * (halves**2).sum(axis=1) - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        return np.asarray(likelihoods + np.array([_log_prior(shape) for shape in shapes]))


def _telling(values: Floats) -> NDArray[np.intp]:
    """Which points a model is made of: all, or of very many the highest, and some of the others at even distances."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values))
    order = np.argsort(-values, kind="stable")
    best, others = order[: MOST_POINTS // 2], order[MOST_POINTS // 2 :]
    some = np.linspace(0, len(others) - 1, MOST_POINTS - len(best)).astype(np.intp)
    return np.sort(np.concatenate([best, others[some]]))


def _near(shape: _Shape, width: float, rng: np.random.Generator) -> _Shape:
    """Parameters that differ a little from others."""
    lengths = shape.lengths * np.exp(rng.normal(0, width, len(shape.lengths)))
    main = float(np.clip(shape.main + rng.normal(0, 0.4 * width), 0.05, 0.95))
    return _Shape(lengths, main, shape.noise * float(np.exp(rng.normal(0, width))))


def _log_prior(shape: _Shape) -> float:
    """Lengths and noise are log-normal, the share of the main effects has a beta distribution."""
    lengths = -0.5 * float(np.sum((np.log(shape.lengths / 2.0) / 0.8) ** 2))
    noise = -0.5 * (math.log(shape.noise / 0.05) / 0.7) ** 2
    return lengths + noise + 2 * math.log(shape.main) + math.log(1 - shape.main)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """How much a value is expected to exceed the best so far; larger values are better."""
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
    gain: Floats = (mean - best) * below + deviation * density
    return np.maximum(gain, 0.0)


def _one_thread() -> AbstractContextManager[Any]:
    """For matrices as small as these, threads cost more than they bring, and disturb who measures beside."""
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1)
    return limited


@functools.cache
def _libraries() -> ThreadpoolController:
    """The libraries that compute with threads; looking for them takes longer than a small fit."""
    return ThreadpoolController()
