"""Estimates and the bootstrap: properties that hold for any data, and coverage where the truth is known."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from hal.measure import Estimate, Percentile, bootstrap, effective_size

untimed = settings(deadline=None)
STATISTICS = ("median", "mean", "p95", "p99")

samples = hnp.arrays(
    np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: abs(x) > 1e-6)
)


@untimed
@given(samples, st.sampled_from(STATISTICS), st.integers(0, 5))
def test_interval_encloses_the_statistic_and_lies_within_the_data(values, statistic, seed):
    low, high = bootstrap(values, statistic=statistic, resamples=200, seed=seed)
    expected = {
        "median": np.median(values),
        "mean": values.mean(),
        "p95": np.quantile(values, 0.95),
        "p99": np.quantile(values, 0.99),
    }[statistic]
    slack = 1e-9 * np.abs(values).max()
    assert low - slack <= expected <= high + slack
    assert values.min() - slack <= low <= high <= values.max() + slack


@untimed
@given(samples, st.sampled_from(STATISTICS), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_more_confidence_is_never_narrower(values, statistic, one, other):
    less, more = sorted((one, other))
    inner = bootstrap(values, statistic=statistic, confidence=less, resamples=200)
    outer = bootstrap(values, statistic=statistic, confidence=more, resamples=200)
    slack = 1e-9 * np.abs(values).max()
    assert outer[0] <= inner[0] + slack
    assert inner[1] <= outer[1] + slack


@untimed
@given(samples, st.sampled_from(STATISTICS), st.integers(-20, 20))
def test_scale_equivariance(values, statistic, power):
    # A power of two scales without rounding, so equality is exact.
    factor = 2.0**power
    low, high = bootstrap(values, statistic=statistic, resamples=200)
    assert bootstrap(factor * values, statistic=statistic, resamples=200) == (factor * low, factor * high)


@untimed
@given(samples, st.randoms(use_true_random=False))
def test_order_does_not_matter(values, random):
    shuffled = values.tolist()
    random.shuffle(shuffled)
    assert bootstrap(shuffled, resamples=200) == bootstrap(values, resamples=200)


@untimed
@given(st.floats(-1e6, 1e6), st.integers(1, 40), st.sampled_from(("median", "p95", "p99")))
def test_constant_data_has_no_width(value, n, statistic):
    assert bootstrap([value] * n, statistic=statistic, resamples=100) == (value, value)


def test_constant_data_has_no_width_for_the_mean():
    low, high = bootstrap([0.1] * 17, statistic="mean")
    assert low == high == pytest.approx(0.1)


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(values, statistic="mean", seed=3) != bootstrap(values, statistic="mean", seed=4)


@pytest.mark.parametrize("n", [1, 2, 7, 24])
@pytest.mark.parametrize(
    ("statistic", "plain"),
    [("median", lambda x: np.median(x, axis=1)), ("p95", lambda x: np.quantile(x, 0.95, axis=1))],
)
def test_drawn_order_statistics_are_those_of_resampling(n, statistic, plain):
    values = np.random.default_rng(1).exponential(size=n)
    rng = np.random.default_rng(2)
    resampled = plain(values[rng.integers(0, n, (40_000, n))])
    for confidence in (0.3, 0.6, 0.9):
        low, high = bootstrap(values, statistic=statistic, confidence=confidence, resamples=40_000)
        # The statistic jumps from value to value, so compare probabilities, not quantiles.
        tail = (1 - confidence) / 2
        assert np.mean(resampled < low) <= tail + 0.01
        assert np.mean(resampled <= low) >= tail - 0.01 or low == plain(values[None])[0]
        assert np.mean(resampled > high) <= tail + 0.01
        assert np.mean(resampled >= high) >= tail - 0.01 or high == plain(values[None])[0]


@pytest.mark.parametrize("n", [8, 9, 30])
def test_coverage_of_a_known_median(n):
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(500):
        low, high = bootstrap(rng.exponential(size=n), resamples=500, seed=seed)
        covered += low <= np.log(2) <= high
    assert 0.90 <= covered / 500 <= 0.99


def test_means_of_large_samples_are_drawn_in_parts():
    values = np.random.default_rng(0).normal(size=2000)
    low, high = bootstrap(values, statistic="mean", resamples=1001)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.15)


def autoregressive(n, correlation, seed):
    rng = np.random.default_rng(seed)
    values = [rng.normal()]
    for _ in range(n - 1):
        values.append(correlation * values[-1] + np.sqrt(1 - correlation**2) * rng.normal())
    return np.asarray(values)


@untimed
@given(samples, st.sampled_from(("median", "p95", "p99")))
def test_effective_size_is_a_size(values, statistic):
    assert 1 <= effective_size(values, statistic=statistic) <= values.size


@pytest.mark.parametrize(("correlation", "least", "most"), [(0.0, 330, 400), (0.5, 130, 240), (0.9, 15, 60)])
def test_effective_size_of_known_processes(correlation, least, most):
    # The sign of a Gaussian process has the correlations (2 / pi) asin(r**k), from which 400, 178 and 29 would follow.
    sizes = [effective_size(autoregressive(400, correlation, seed)) for seed in range(40)]
    assert least <= np.median(sizes) <= most


def test_effective_size_of_extremes():
    assert effective_size([1.0] * 9) == 9
    assert effective_size([1.0, 2.0] * 20) == 40
    assert effective_size(np.arange(100.0)) <= 3
    assert effective_size([5.0]) == 1


def test_smaller_resamples_widen_the_interval():
    values = np.random.default_rng(0).normal(size=400)
    for statistic in ("median", "mean"):
        whole = np.diff(bootstrap(values, statistic=statistic))[0]
        quarter = np.diff(bootstrap(values, statistic=statistic, resample_size=100))[0]
        assert quarter == pytest.approx(2 * whole, rel=0.2)


@pytest.mark.parametrize("n", [50, 200])
def test_coverage_of_series_whose_neighbours_resemble_each_other(n):
    covered = naive = 0
    for seed in range(300):
        values = autoregressive(n, 0.5, seed)
        estimate = Estimate.of(values, unit="", in_time_order=True, resamples=500)
        covered += estimate.low <= 0 <= estimate.high
        low, high = bootstrap(values, resamples=500)
        naive += low <= 0 <= high
    assert covered / 300 >= 0.87
    assert naive / 300 < 0.85


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]]])
def test_values_that_have_no_statistic_are_refused(values):
    with pytest.raises(ValueError, match="a statistic needs"):
        bootstrap(values)


@pytest.mark.parametrize(
    "bad", [{"confidence": 0.0}, {"confidence": 1.0}, {"resamples": 0}, {"resample_size": 0}, {"resample_size": 3}]
)
def test_arguments_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        bootstrap([1.0, 2.0], **bad)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((4559, 4410, 4700, 24, "samples/s"), "4 559 samples/s [4 410, 4 700] (n=24)"),
        ((1234567, 1200000, 1300000, 24, "samples/s"), "1 234 567 samples/s [1 200 000, 1 300 000] (n=24)"),
        ((1.0344, 1.0211, 1.0466, 24, "x"), "1.034x [1.021, 1.047] (n=24)"),
        ((0.0001234, 0.0001234, 0.0001234, 8, "s"), "0.0001234 s [0.0001234, 0.0001234] (n=8)"),
        ((12.0, 11.0, 13.0, 3, "ms"), "12.0 ms [11.0, 13.0] (n=3, too few for 95%)"),
        ((0.0, 0.0, 0.0, 8, "W"), "0 W [0, 0] (n=8)"),
    ],
)
def test_text(estimate, text):
    median, low, high, n, unit = estimate
    assert str(Estimate(median=median, low=low, high=high, n=n, unit=unit)) == text


def test_format_spec_applies_to_each_number():
    assert f"{Estimate(median=2, low=1, high=3, n=9, unit='ms'):.2f}" == "2.00 ms [1.00, 3.00] (n=9)"


@untimed
@given(
    st.floats(1e-9, 1e12), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(1, 99), st.sampled_from(("ms", "x", ""))
)
def test_text_never_fails(median, below, above, n, unit):
    text = str(Estimate(median=median, low=median * (1 - below), high=median * (1 + above), n=n, unit=unit))
    assert f"(n={n}" in text


def test_estimate_of_values():
    estimate = Estimate.of([3.0, 1.0, 2.0, 4.0], unit="ms")
    assert (estimate.median, estimate.n, estimate.unit) == (2.5, 4, "ms")
    assert not estimate.covers
    assert Estimate.of([1.0] * 6, unit="ms").covers


def test_relative_half_width():
    assert Estimate(median=10, low=9, high=12, n=9, unit="ms").relative_half_width == pytest.approx(0.15)
    assert Estimate(median=0, low=0, high=0, n=9, unit="ms").relative_half_width == 0
    assert Estimate(median=0, low=-1, high=1, n=9, unit="ms").relative_half_width == float("inf")


def test_surely_below():
    slow = Estimate(median=10, low=9, high=11, n=9, unit="samples/s")
    fast = Estimate(median=20, low=11.5, high=21, n=9, unit="samples/s")
    assert slow.surely_below(fast)
    assert not fast.surely_below(slow)
    assert not slow.surely_below(slow)
    with pytest.raises(ValueError, match="cannot compare samples/s with ms"):
        slow.surely_below(Estimate(median=20, low=20, high=20, n=9, unit="ms"))


@pytest.mark.parametrize(
    "wrong",
    [{"low": 5.0}, {"high": 1.0}, {"n": 0}, {"median": float("nan")}, {"high": float("inf")}, {"width": 1.0}],
)
def test_estimates_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValidationError):
        Estimate(**({"median": 2.0, "low": 1.0, "high": 3.0, "n": 9, "unit": "ms"} | wrong))


def test_estimates_are_frozen_and_survive_json():
    estimate = Estimate.of([1.0, 2.0, 4.0], unit="ms")
    assert Estimate.model_validate_json(estimate.model_dump_json()) == estimate
    with pytest.raises(ValidationError, match="frozen"):
        estimate.median = 3.0


@pytest.mark.parametrize(("statistic", "fewest"), [("p95", 20), ("p99", 100)])
def test_percentiles_of_too_few_values_are_unknown(statistic, fewest):
    values = np.arange(fewest, dtype=float)
    assert Percentile.of(values[1:], statistic, unit="ms") is None
    percentile = Percentile.of(values, statistic, unit="ms")
    assert percentile is not None
    assert percentile.value == pytest.approx(np.quantile(values, percentile.percent / 100))
    assert percentile.low <= percentile.value <= percentile.high


def test_no_framework_is_imported():
    code = "import sys, hal.measure; print({'torch', 'jax', 'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
