"""Layers: their parameters, state and shapes, their names and errors, and how initial values are drawn."""

import itertools

import numpy as np
import optree
import pytest
from nn_helpers import host, normal, put, shapes, values

from hal import nn, ops
from hal.errors import ConfigError, ShapeError
from hal.nn.init import INITIALIZERS, _fans
from hal.registry import backend
from hal.tensor.random import Key

# Parameters, state and shapes

LAYERS = [
    (nn.Dense(3), (5,), {"kernel": (5, 3), "bias": (3,)}, {}, (3,)),
    (nn.Dense(3, bias=False), (2, 5), {"kernel": (5, 3)}, {}, (2, 3)),
    (nn.Conv2d(6), (8, 7, 2), {"kernel": (3, 3, 2, 6), "bias": (6,)}, {}, (8, 7, 6)),
    (
        nn.Conv2d(6, (3, 2), strides=2, padding="valid", groups=2, bias=False),
        (8, 7, 4),
        {"kernel": (3, 2, 2, 6)},
        {},
        (3, 3, 6),
    ),
    (nn.Conv2d(6, dilation=2, padding="valid"), (8, 7, 2), {"kernel": (3, 3, 2, 6), "bias": (6,)}, {}, (4, 3, 6)),
    (nn.Conv2dTranspose(6, 5, strides=2), (4, 3, 2), {"kernel": (5, 5, 2, 6), "bias": (6,)}, {}, (8, 6, 6)),
    (
        nn.Conv2dTranspose(6, 3, strides=2, padding="valid", bias=False),
        (4, 3, 2),
        {"kernel": (3, 3, 2, 6)},
        {},
        (9, 7, 6),
    ),
    (nn.MaxPool2d(), (8, 7, 2), {}, {}, (4, 3, 2)),
    (nn.MaxPool2d(3, strides=2, padding="same"), (8, 7, 2), {}, {}, (4, 4, 2)),
    (nn.AvgPool2d(), (8, 7, 2), {}, {}, (4, 3, 2)),
    (nn.GlobalAvgPool(), (8, 7, 2), {}, {}, (2,)),
    (nn.BatchNorm(), (8, 7, 2), {"scale": (2,), "offset": (2,)}, {"mean": (2,), "variance": (2,)}, (8, 7, 2)),
    (nn.LayerNorm(), (7, 2), {"scale": (2,), "offset": (2,)}, {}, (7, 2)),
    (nn.Embedding(9, 4), (7,), {"table": (9, 4)}, {}, (7, 4)),
    (nn.Dropout(0.5), (7, 2), {}, {}, (7, 2)),
    (nn.Activation("relu"), (7, 2), {}, {}, (7, 2)),
    (nn.Flatten(), (8, 7, 2), {}, {}, (112,)),
    (nn.Reshape((4, 3)), (12,), {}, {}, (4, 3)),
    (nn.SimpleRNN(4), (7, 2), {"kernel": (2, 4), "recurrent": (4, 4), "bias": (4,)}, {}, (4,)),
    (nn.LSTM(4, sequence=True), (7, 2), {"kernel": (2, 16), "recurrent": (4, 16), "bias": (16,)}, {}, (7, 4)),
    (
        nn.GRU(4),
        (7, 2),
        {"kernel": (2, 12), "recurrent": (4, 12), "bias": (12,), "recurrent_bias": (12,)},
        {},
        (4,),
    ),
    (nn.LearnedPositions(9), (7, 4), {"table": (9, 4)}, {}, (7, 4)),
    (nn.SinusoidalPositions(), (7, 4), {}, {}, (7, 4)),
    (
        nn.MultiHeadAttention(4, key_heads=2, causal=True, rotary=100.0, bias=False),
        (7, 8),
        {"joint": {"kernel": (8, 16)}, "out": {"kernel": (8, 8)}},
        {},
        (7, 8),
    ),
    (
        nn.TransformerBlock(2, hidden=6, norm="post", dropout=0.5),
        (7, 4),
        {
            "attention": {"joint": {"kernel": (4, 12), "bias": (12,)}, "out": {"kernel": (4, 4), "bias": (4,)}},
            "attention_norm": {"scale": (4,), "offset": (4,)},
            "widen": {"kernel": (4, 6), "bias": (6,)},
            "narrow": {"kernel": (6, 4), "bias": (4,)},
            "dense_norm": {"scale": (4,), "offset": (4,)},
        },
        {},
        (7, 4),
    ),
    (nn.Residual(nn.Dense(5)), (5,), {"body": {"kernel": (5, 5), "bias": (5,)}}, {}, (5,)),
    (
        nn.Residual(nn.BatchNorm(), nn.Dense(5, bias=False), "relu"),
        (5,),
        {"body": {"scale": (5,), "offset": (5,)}, "shortcut": {"kernel": (5, 5)}},
        {"body": {"mean": (5,), "variance": (5,)}},
        (5,),
    ),
    (
        nn.Sequential(nn.Dense(4), nn.BatchNorm(), nn.Dense(2)),
        (5,),
        {
            "dense": {"kernel": (5, 4), "bias": (4,)},
            "batchnorm": {"scale": (4,), "offset": (4,)},
            "dense_1": {"kernel": (4, 2), "bias": (2,)},
        },
        {"batchnorm": {"mean": (4,), "variance": (4,)}},
        (2,),
    ),
    (
        nn.Sequential(nn.Embedding(9, 4), nn.LSTM(3)),
        (7,),
        {"embedding": {"table": (9, 4)}, "lstm": {"kernel": (4, 12), "recurrent": (3, 12), "bias": (12,)}},
        {},
        (3,),
    ),
]


@pytest.mark.parametrize(
    ("layer", "given", "params", "state", "out"),
    LAYERS,
    ids=[f"{i}-{type(row[0]).__name__}" for i, row in enumerate(LAYERS)],
)
def test_layers(layer, given, params, state, out):
    assert shapes(layer.params(given)) == params
    assert shapes(layer.state(given)) == state
    assert layer.output_shape(given, "int64" if layer.takes_ids else "float32") == out
    # What the null backend says is what comes out.
    x = put(np.zeros((2, *given), np.int64)) if layer.takes_ids else put(normal(2, *given))
    y, after = layer.apply(values(layer.params(given)), values(layer.state(given)), x)
    assert tuple(y.shape) == (2, *out)
    assert shapes(after) == state
    y, after = layer.apply(values(layer.params(given)), values(layer.state(given)), x, training=True, key=Key(0))
    assert tuple(y.shape) == (2, *out)
    assert shapes(after) == state


def test_layers_are_values():
    assert nn.Conv2d(3) == nn.Conv2d(3)
    assert hash(nn.Sequential(nn.Dense(3))) == hash(nn.Sequential(nn.Dense(3)))
    with pytest.raises(AttributeError):
        nn.Dense(3).units = 4


# Combining


def test_sequential_names_by_type_and_count():
    layers = nn.Sequential(nn.Dense(3), nn.Activation("relu"), nn.Dense(3), nn.Conv2dTranspose(2), nn.Dense(3))
    assert [name for name, _ in layers.layers] == ["dense", "activation", "dense_1", "conv2dtranspose", "dense_2"]


def test_an_error_names_the_layer():
    layers = nn.Sequential(nn.Conv2d(4, padding="valid"), nn.MaxPool2d(), nn.Conv2d(4, padding="valid"))
    assert layers.output_shape((10, 10, 1)) == (2, 2, 4)
    with pytest.raises(ShapeError, match=r"layer conv2d_1 does not fit an input of \(2, 2, 4\): .*window of 3"):
        layers.params((6, 6, 1))
    with pytest.raises(ShapeError, match=r"layer dense does not fit an input of \(\)"):
        nn.Sequential(nn.Dense(3)).params(())
    with pytest.raises(ShapeError, match=r"layer reshape .*\(6,\) cannot be reshaped to \(4,\)"):
        nn.Sequential(nn.Reshape((4,))).params((6,))


def test_an_error_names_the_inner_layer_too():
    inner = nn.Sequential(nn.Dense(3), nn.Conv2d(4))
    with pytest.raises(
        ShapeError, match=r"layer sequential does not fit .*layer conv2d does not fit an input of \(3,\)"
    ):
        nn.Sequential(nn.Dense(5), inner).params((2,))


@pytest.mark.parametrize(
    ("layer", "shape", "said"),
    [
        (nn.Conv2d(3), (5, 5), r"images of shape \(height, width, channels\)"),
        (nn.LSTM(3), (5,), r"sequences of shape \(time, features\)"),
        (nn.Activation("rely"), (5,), "activation='rely' is not known; use one of elu"),
        (nn.Dense(3, activation="rely"), (5,), "activation='rely' is not known"),
    ],
)
def test_layers_that_do_not_fit(layer, shape, said):
    with pytest.raises(ShapeError, match=said):
        layer.output_shape(shape)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", None])
def test_pooling_before_a_nondecreasing_activation_changes_nothing(activation):
    conv, pool = nn.Conv2d(3, activation=activation), nn.MaxPool2d()
    both = nn.Sequential(conv, pool)
    swapped = activation in ("relu", "tanh")
    assert both.layers == (
        ("conv2d", nn.Conv2d(3, activation=None if swapped else activation)),
        ("maxpool2d", nn.MaxPool2d(activation=activation if swapped else None)),
    )
    params, x = values(both.params((6, 6, 2))), put(normal(2, 6, 6, 2))

    def loss(params, swap):
        if swap:
            return ops.sum(ops.square(both.apply(params, {}, x)[0])), ()
        y, _ = conv.apply(params["conv2d"], {}, x)
        return ops.sum(ops.square(pool.apply({}, {}, y)[0])), ()

    gradient = backend("cpu").value_and_grad(loss)
    ((value, _), grads), ((wanted, _), wanted_grads) = gradient(params, True), gradient(params, False)
    assert float(value) == float(wanted)
    for name, grad in grads["conv2d"].items():
        np.testing.assert_allclose(host(grad), host(wanted_grads["conv2d"][name]), rtol=1e-6)


def test_residual_ways_have_to_agree():
    with pytest.raises(ShapeError, match=r"body gives \(2, 3\) and its shortcut \(2, 4\), but .*; pass shortcut="):
        nn.Residual(nn.Dense(3)).output_shape((4,))
    assert nn.Residual(nn.Dense(3), nn.Dense(3)).output_shape((4,)) == (3,)


def test_residual_adds_and_activates():
    x = normal(3, 4)
    layer = nn.Residual(nn.Dense(4), activation="relu")
    params = values(layer.params((4,)))
    y, _ = layer.apply(params, {}, put(x))
    wanted = np.maximum(x @ host(params["body"]["kernel"]) + host(params["body"]["bias"]) + x, 0)
    np.testing.assert_allclose(host(y), wanted, rtol=1e-5, atol=1e-6)


def test_every_drawing_layer_gets_its_own_key():
    layers = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    ones = put(np.ones((1, 4096), np.float32))
    y, _ = layers.apply({}, {}, ones, training=True, key=Key(3))
    kept = float((host(y) != 0).mean())
    assert 0.2 < kept < 0.3, "two independent halves keep a quarter"
    both = nn.Residual(nn.Dropout(0.5), nn.Dropout(0.5))
    y, _ = both.apply({}, {}, ones, training=True, key=Key(3))
    assert set(np.unique(host(y))) == {0.0, 2.0, 4.0}
    assert layers.draws
    assert both.draws
    assert not nn.Sequential(nn.Dense(3)).draws


# Training and inference


def test_dropout():
    layer, x = nn.Dropout(0.25), put(np.ones((64, 64), np.float32))
    assert np.array_equal(host(layer.apply({}, {}, x)[0]), np.ones((64, 64)))
    dropped = host(layer.apply({}, {}, x, training=True, key=Key(1))[0])
    assert set(np.unique(dropped)) == {0.0, np.float32(4 / 3)}
    assert 0.2 < (dropped == 0).mean() < 0.3
    assert np.array_equal(dropped, host(layer.apply({}, {}, x, training=True, key=Key(1))[0]))
    assert not np.array_equal(dropped, host(layer.apply({}, {}, x, training=True, key=Key(2))[0]))
    with pytest.raises(ShapeError, match="pass key="):
        layer.apply({}, {}, x, training=True)


def test_batch_norm():
    layer = nn.BatchNorm(momentum=0.8, epsilon=1e-5)
    x = normal(64, 3) * [1, 2, 3] + [4, 5, 6]
    x = x.astype(np.float32)
    params, state = values(layer.params((3,))), values(layer.state((3,)))
    y, after = layer.apply(params, state, put(x), training=True)
    np.testing.assert_allclose(host(y).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(host(y).std(0), 1, atol=1e-3)
    np.testing.assert_allclose(host(after["mean"]), 0.2 * x.mean(0), rtol=1e-4)
    assert np.all(host(after["variance"]) != 1)
    # Inference uses what is running, and leaves it.
    given = {"mean": put(np.float32([1, 2, 3])), "variance": put(np.float32([4, 9, 16]))}
    y, same = layer.apply(params, given, put(x))
    np.testing.assert_allclose(host(y), (x - [1, 2, 3]) / np.sqrt(np.array([4, 9, 16]) + 1e-5), rtol=1e-4, atol=1e-5)
    assert np.array_equal(host(same["mean"]), [1, 2, 3])
    assert np.array_equal(host(same["variance"]), [4, 9, 16])
    # One value for each channel has no variance in training; its place in a model is known all the same.
    assert layer.output_shape((3,)) == (3,)
    with pytest.raises(
        ShapeError, match=r"x of shape \(1, 3\) in training, which has 1 value for each channel"
    ) as found:
        layer.apply(params, state, put(normal(1, 3)), training=True)
    assert "accumulate=" in found.value.fix


def test_normalisation_stays_fp32_in_every_precision():
    for specs in (nn.BatchNorm().params((3,)), nn.BatchNorm().state((3,)), nn.LayerNorm().params((3,))):
        assert not any(spec.cast for spec in specs.values())
    assert all(spec.cast for spec in nn.Conv2d(3).params((8, 8, 1)).values())


def test_recurrent_layers_give_all_steps_or_the_last():
    x = put(normal(2, 5, 3))
    for cls in (nn.SimpleRNN, nn.LSTM, nn.GRU):
        params = values(cls(4).params((5, 3)))
        every, _ = cls(4, sequence=True).apply(params, {}, x)
        last, _ = cls(4).apply(params, {}, x)
        assert np.array_equal(host(every)[:, -1], host(last))


@pytest.mark.parametrize("cls", [nn.SimpleRNN, nn.LSTM, nn.GRU])
def test_a_carry_goes_on_with_a_sequence(cls):
    layer, x = cls(4, sequence=True), normal(2, 6, 3)
    params = values(layer.params((6, 3)))
    whole, _ = layer.run(params, put(x), None)
    first, carry = layer.run(params, put(x[:, :4]), None)
    second, _ = layer.run(params, put(x[:, 4:]), carry)
    np.testing.assert_allclose(np.concatenate([host(first), host(second)], 1), host(whole), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "given", "params", "out"),
    [(layer, given, params, out) for layer, given, params, _, out in LAYERS if params],
)
def test_gradients_reach_every_parameter(layer, given, params, out):
    x = put(np.arange(2 * np.prod(given)).reshape(2, *given) % 9) if layer.takes_ids else put(normal(2, *given))
    weights, before = values(layer.params(given), 1), values(layer.state(given))
    target = put(normal(2, *out, seed=7))

    def loss(p):
        y, _ = layer.apply(p, before, x, training=True, key=Key(0))
        return ops.mean(ops.square(y - target)), {}

    (value, _), grads = backend("cpu").value_and_grad(loss)(weights)
    assert np.isfinite(host(value))
    assert shapes(optree.tree_map(host, grads)) == params
    for path, grad in zip(*optree.tree_flatten_with_path(grads)[:2], strict=True):
        assert np.isfinite(host(grad)).all(), path
        assert np.abs(host(grad)).max() > 0, f"no gradient reaches {path}"


# Initial values


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
        ConfigError, match=r"/a/b uses the initializer 'glorot', which does not exist; use one of glorot_uniform"
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
