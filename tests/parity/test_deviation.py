"""How far one array is from another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hal.contract.device import PRECISIONS
from hal.parity import Deviation, Limit
from hal.parity.deviation import ROUNDING, TOLERANCES, deviation, relative

FLOATS = arrays(
    np.float32,
    array_shapes(min_side=1, max_side=4),
    elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False),
)


@given(FLOATS)
def test_equal_arrays_do_not_deviate(x):
    assert deviation(x.copy(), x) == Deviation()


@given(FLOATS.filter(lambda x: np.abs(x).max() > 1e-20), st.floats(1e-4, 0.5), st.integers(-40, 40))
def test_a_factor_shows_as_what_it_is_at_any_scale(x, share, power):
    wide = x.astype(np.float64) * 2.0**power
    found = deviation(wide * (1 + share), wide)
    assert found.largest == pytest.approx(share, rel=1e-6)
    assert found.typical == pytest.approx(share, rel=1e-6)


@given(FLOATS.filter(lambda x: np.abs(x).max() > 1e-20), st.data())
def test_one_wrong_value_is_seen(x, data):
    at = data.draw(st.integers(0, x.size - 1))
    scale = float(np.abs(x).max())
    wrong = x.astype(np.float64)
    wrong.flat[at] += 0.01 * scale
    found = deviation(wrong, x)
    assert found.largest == pytest.approx(0.01, rel=1e-4)
    assert 0 < found.typical <= 0.01 * (1 + 1e-4)


@pytest.mark.parametrize(
    ("actual", "expected", "problem"),
    [
        ([1.0, np.nan], [1.0, 2.0], "1 of 2 values are not finite, or should not be"),
        ([1.0, 2.0], [1.0, np.inf], "1 of 2 values are not finite, or should not be"),
        ([np.inf], [-np.inf], "1 of 1 values are not finite, or should not be"),
        ([1e-9], [0.0], "should be zero everywhere"),
        ([1.0], [1.0, 1.0], "shape (1,) instead of (2,)"),
    ],
)
def test_what_cannot_be_compared(actual, expected, problem):
    found = deviation(np.array(actual), np.array(expected))
    assert found.problem == problem
    assert Limit(largest=1e9, typical=1e9).exceeded(found)


@pytest.mark.parametrize("values", [[np.nan, np.inf, -np.inf, 1.0], [0.0, -0.0], []])
def test_what_is_equal_though_odd(values):
    assert deviation(np.array(values), np.array(values)) == Deviation()


def test_integers_differ_or_not():
    found = deviation(np.array([1, 2, 3, 4], np.int32), np.array([1, 2, 3, 5], np.int64))
    assert (found.largest, found.typical) == (1.0, 0.25)
    assert deviation(np.array([True]), np.array([True])) == Deviation()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_fault_of_one_percent_is_seen_in_every_precision(precision):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4096)
    rounding = 1 + ROUNDING[precision] * rng.uniform(-1, 1, x.shape)
    limit = TOLERANCES[precision].op
    assert not limit.exceeded(deviation(x * rounding, x))
    assert limit.exceeded(deviation(x * 1.01 * rounding, x))


def test_relative():
    assert relative(1.01, 1.0) == pytest.approx(0.01)
    assert relative(0.0, 0.0) == 0.0
