"""A number with its confidence interval, by the percentile bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Estimate", "Percentile", "Statistic", "bootstrap", "effective_size"]

Statistic: TypeAlias = Literal["median", "mean", "p95", "p99"]

_QUANTILES: dict[Statistic, float] = {"median": 0.5, "p95": 0.95, "p99": 0.99}
_CHUNK = 1_000_000
"""Resampled values held at a time, so that memory does not grow with the sample."""

_FEWEST_FOR_95 = 6
"""No interval within the range of n values covers their median with more than ``1 - 2**(1 - n)``: 94% at 5."""


class _Interval(BaseModel):
    """What estimates of a median and of other percentiles share."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float = Field(description="Lower end of the 95% confidence interval.")
    high: float = Field(description="Upper end of the 95% confidence interval.")
    n: int = Field(ge=1, description="Values it was computed from.")
    unit: str = Field(description="Unit of the numbers, for example samples/s.")

    @property
    def _value(self) -> float:
        raise NotImplementedError

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self._value <= self.high:
            raise ValueError(f"{self._value} is not within its interval [{self.low}, {self.high}]")
        return self

    @property
    def relative_half_width(self) -> float:
        """Half the width of the interval over the value; infinite where the value is 0 and the interval is not."""
        half = (self.high - self.low) / 2
        if half == 0:
            return 0.0
        return half / abs(self._value) if self._value else math.inf

    def __str__(self) -> str:
        return format(self, "")

    def __format__(self, spec: str) -> str:
        """``value unit [low, high] (n)``; a spec such as ``.1f`` applies to each number.

        Without one there are as many decimals as the interval carries: two significant digits of its half width.
        """
        if not spec:
            spec = f",.{self._decimals()}f"
        value, low, high = (format(x, spec).replace(",", " ") for x in (self._value, self.low, self.high))
        unit = self.unit if self.unit in ("", "x") else f" {self.unit}"
        return f"{value}{unit} [{low}, {high}] (n={self.n}{self._caveat()})"

    def _decimals(self) -> int:
        scale = max(abs(self.low), abs(self.high))
        if scale == 0:
            return 0
        leading = math.floor(math.log10(scale))
        half = (self.high - self.low) / 2
        wanted = 1 - math.floor(math.log10(half)) if half > 0 else 3 - leading
        return min(max(0, wanted, 2 - leading), max(0, 5 - leading))

    def _caveat(self) -> str:
        return ""


class Estimate(_Interval):
    """A median with its 95% bootstrap confidence interval.

    >>> print(Estimate(median=4559, low=4410, high=4700, n=24, unit="samples/s"))
    4 559 samples/s [4 410, 4 700] (n=24)
    """

    median: float = Field(description="The median.")

    @property
    def _value(self) -> float:
        return self.median

    @classmethod
    def of(
        cls,
        values: Sequence[float] | NDArray[np.float64],
        *,
        unit: str,
        in_time_order: bool = False,
        resamples: int = 2000,
        seed: int = 0,
    ) -> Self:
        """Estimate the median of some values.

        Args:
            values: one or more finite numbers, shape (n,).
            unit: their unit.
            in_time_order: they follow each other in time, and what neighbors have in common shall widen the
                interval as :func:`effective_size` says; otherwise they are taken to be independent.
            resamples: see :func:`bootstrap`.
            seed: see :func:`bootstrap`.

        Raises:
            ValueError: no values, or one that is not finite.
        """
        data = _checked(values)
        size = effective_size(data) if in_time_order else data.size
        low, high = bootstrap(data, resamples=resamples, resample_size=size, seed=seed)
        return cls(median=_point(np.sort(data), "median"), low=low, high=high, n=data.size, unit=unit)

    def throughput(self, samples_per_step: float) -> Estimate:
        """Samples per second, of the milliseconds of a step; the interval is turned over."""
        samples = 1000 * samples_per_step
        ends = {"median": samples / self.median, "low": samples / self.high, "high": samples / self.low}
        return Estimate(**ends, n=self.n, unit="samples/s")

    @property
    def covers(self) -> bool:
        """Whether n suffices for 95%: the range of five values covers their median with 94% at most."""
        return self.n >= _FEWEST_FOR_95

    def surely_below(self, other: Estimate) -> bool:
        """Whether the whole interval lies below the other's.

        Raises:
            ValueError: the units differ.
        """
        if self.unit != other.unit:
            raise ValueError(f"cannot compare {self.unit} with {other.unit}; convert one of the estimates")
        return self.high < other.low

    def _caveat(self) -> str:
        return "" if self.covers else ", too few for 95%"


class Percentile(_Interval):
    """A percentile other than the median with its 95% bootstrap confidence interval."""

    percent: float = Field(gt=0, lt=100, description="Which one, for example 99.")
    value: float = Field(description="The percentile.")

    @property
    def _value(self) -> float:
        return self.value

    @classmethod
    def of(
        cls,
        values: Sequence[float] | NDArray[np.float64],
        statistic: Literal["p95", "p99"],
        *,
        unit: str,
        in_time_order: bool = False,
        resamples: int = 2000,
        seed: int = 0,
    ) -> Self | None:
        """Estimate a percentile of some values; the arguments are those of :meth:`Estimate.of`.

        Returns:
            None where the values are too few to reach it: fewer than 20 for p95, 100 for p99. The largest of fewer
            would pass for the percentile and be too small.

        Raises:
            ValueError: no values, or one that is not finite.
        """
        data = _checked(values)
        quantile = _QUANTILES[statistic]
        if data.size * (1 - quantile) < 1 - 1e-9:
            return None
        size = effective_size(data, statistic=statistic) if in_time_order else data.size
        low, high = bootstrap(data, statistic=statistic, resamples=resamples, resample_size=size, seed=seed)
        point = _point(np.sort(data), statistic)
        return cls(percent=100 * quantile, value=point, low=low, high=high, n=data.size, unit=unit)


def bootstrap(
    values: Sequence[float] | NDArray[np.float64],
    *,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    resamples: int = 2000,
    resample_size: int | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of a statistic by the percentile bootstrap.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: the statistic of many resamples with
    replacement, and the quantiles of those. Resamples of all n values take them to be independent; smaller ones widen
    the interval for values that are not (:func:`effective_size`).

    The order statistics of a resample are those of the sample at the ranks ``floor(n * U)``, U being order statistics
    of as many uniform numbers, which have Beta distributions (David and Nagaraja, Order Statistics, 2003, section
    2.1). So quantiles are drawn directly: the distribution is that of resampling, the cost does not grow with n.

    Args:
        values: one or more finite numbers, shape (n,).
        statistic: which one; percentiles interpolate linearly between neighbors, as numpy.quantile does.
        confidence: probability that the interval shall cover, between 0 and 1.
        resamples: how many.
        resample_size: values in each; n if None.
        seed: of the random numbers; equal arguments give equal intervals.

    Returns:
        The lower and the upper end. They enclose the sample's own statistic.

    Raises:
        ValueError: no values, one that is not finite, or an argument out of range.
    """
    data = np.sort(_checked(values))
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not between 0 and 1")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} is not positive")
    size = data.size if resample_size is None else resample_size
    if not 1 <= size <= data.size:
        raise ValueError(f"resample_size={size} is not between 1 and the {data.size} values")
    rng = np.random.default_rng(seed)
    if statistic == "mean":
        drawn = _resampled_means(data, size, resamples, rng)
    else:
        drawn = _resampled(data, size, statistic, resamples, rng)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    point = _point(data, statistic)
    return min(float(low), point), max(float(high), point)


def effective_size(
    values: Sequence[float] | NDArray[np.float64], *, statistic: Literal["median", "p95", "p99"] = "median"
) -> int:
    """How many independent values a series is worth for one of its quantiles.

    Machines slow down and recover over stretches longer than a block, so that neighbors resemble each other. The
    variance of a quantile then grows by the autocorrelation time of the series "is above the quantile", here estimated
    by the initial positive sequence of Geyer, Practical Markov Chain Monte Carlo (Statistical Science 7, 1992).

    Args:
        values: one or more finite numbers in the order in which they were taken, shape (n,).
        statistic: which quantile.

    Returns:
        Between 1 and n.
    """
    data = _checked(values)
    above = (data > _point(np.sort(data), statistic)).astype(np.float64)
    above -= above.mean()
    variance = float(above @ above)
    if variance == 0:
        return int(data.size)
    spectrum = np.fft.rfft(above, 2 * data.size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, 2 * data.size)[: data.size] / variance
    pairs = correlation[: data.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    positive = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else pairs.size
    time = max(1.0, 2 * float(pairs[:positive].sum()) - 1)
    return max(1, round(data.size / time))


def _checked(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise ValueError(f"a statistic needs a flat list of at least one value, not shape {data.shape}")
    if not np.isfinite(data).all():
        raise ValueError("a statistic needs finite values; remove or investigate the others")
    return data


def _ranks(size: int, statistic: Statistic) -> tuple[int, float]:
    """Rank (from 0) of the order statistic at or below a quantile, and how far it lies towards the next."""
    position = (size - 1) * _QUANTILES[statistic]
    lower = math.floor(position)
    return lower, position - lower


def _point(data: NDArray[np.float64], statistic: Statistic) -> float:
    if statistic == "mean":
        return float(data.mean())
    lower, fraction = _ranks(data.size, statistic)
    upper = min(lower + 1, data.size - 1)
    return float(data[lower] + fraction * (data[upper] - data[lower]))


def _resampled(
    data: NDArray[np.float64], size: int, statistic: Statistic, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    lower, fraction = _ranks(size, statistic)
    first = rng.beta(lower + 1, size - lower, resamples)
    at_first = _at(data, first)
    if lower + 1 == size:
        return at_first
    # Given one order statistic, the next is the smallest of the uniform numbers that remain above it.
    second = first + (1 - first) * rng.beta(1, size - lower - 1, resamples)
    return at_first + fraction * (_at(data, second) - at_first)


def _at(data: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    return data[np.minimum((data.size * uniform).astype(np.intp), data.size - 1)]


def _resampled_means(
    data: NDArray[np.float64], size: int, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    rows = max(1, _CHUNK // size)
    parts = [
        data[rng.integers(0, data.size, (min(rows, resamples - done), size))].mean(axis=1)
        for done in range(0, resamples, rows)
    ]
    return np.concatenate(parts)
