"""How initial values are drawn."""

import itertools

import numpy as np
import pytest

from hal import nn
from hal.errors import ConfigError
from hal.nn.init import INITIALIZERS, _fans


def test_values_depend_on_seed_and_path_alone():
    small = {"body": {"dense": nn.Dense(3).params((4,))}}
    large = {"first": nn.Dense(9).params((2,)), "body": {"conv": nn.Conv2d(2).params((5, 5, 1)), **small["body"]}}
    a, b = nn.initialize(small, 5), nn.initialize(large, 5)
    assert np.array_equal(a["body"]["dense"]["kernel"], b["body"]["dense"]["kernel"])
    assert not np.array_equal(a["body"]["dense"]["kernel"], nn.initialize(small, 6)["body"]["dense"]["kernel"])
    twins = nn.initialize({"a": nn.Dense(3).params((4,)), "b": nn.Dense(3).params((4,))}, 5)
    assert not np.array_equal(twins["a"]["kernel"], twins["b"]["kernel"])


def test_values_are_the_same_ever_after():
    # Pinned: a checkpoint's seed and a comparison of backends rest on these bits.
    kernel = nn.initialize({"dense": nn.Dense(2).params((2,))}, 0)["dense"]["kernel"]
    assert kernel.dtype == np.float32
    assert kernel.tolist() == [[0.6480769515037537, -1.1973167657852173], [-0.5333040356636047, 0.7557395696640015]]


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initializer(name):
    value = nn.initialize({"x": nn.Param((8, 32), name) if name != "lstm_bias" else nn.Param((32,), name)}, 0)["x"]
    assert value.dtype == np.float32
    assert np.isfinite(value).all()


def test_an_initializer_that_does_not_exist():
    with pytest.raises(
        ConfigError, match=r"/a/b asks for the initializer 'glorot', which does not exist; use one of glorot_uniform"
    ):
        nn.initialize({"a": {"b": nn.Param((3,), "glorot")}}, 0)


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((5, 7), (5, 7)), ((3, 3, 2, 6), (18, 54)), ((3, 2, 2, 6), (12, 36)), ((4,), (4, 4)), ((), (1, 1))],
)
def test_fans(shape, fans):
    assert _fans(shape) == fans


def test_ranges():
    def drawn(name, *shape):
        return nn.initialize({"x": nn.Param(shape, name)}, 0)["x"]

    glorot = drawn("glorot_uniform", 3, 3, 16, 32)
    limit = (6 / (9 * 16 + 9 * 32)) ** 0.5
    assert 0.98 * limit < np.abs(glorot).max() <= limit
    assert drawn("he_normal", 3, 3, 16, 64).std() == pytest.approx((2 / 144) ** 0.5, rel=0.05)
    assert drawn("normal_0.02", 64, 64).std() == pytest.approx(0.02, rel=0.05)
    assert 0.049 < np.abs(drawn("uniform_0.05", 64, 64)).max() <= 0.05


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_recurrent_kernels_are_orthogonal_blocks(gates):
    kernel = nn.initialize({"x": nn.Param((16, 16 * gates), "orthogonal_blocks")}, 0)["x"].astype(np.float64)
    blocks = [kernel[:, 16 * gate : 16 * gate + 16] for gate in range(gates)]
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(16), atol=1e-6)
    for first, second in itertools.pairwise(blocks):
        assert not np.allclose(first, second)


def test_an_lstm_begins_by_remembering():
    bias = nn.initialize(nn.LSTM(4).params((5, 3)), 0)["bias"]
    assert bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8
    assert not nn.initialize(nn.GRU(4).params((5, 3)), 0)["bias"].any()
