"""Attention and transformer blocks, against PyTorch's own with the same weights, and what positions promise."""

import numpy as np
import pytest
import torch
from nn_helpers import host, normal, put, shapes, values

from hal import nn
from hal.errors import ShapeError
from hal.nn.positions import rotated
from hal.tensor.random import Key

WIDTH, HEADS, TIME = 8, 2, 5


def torch_block(norm, params):
    """PyTorch's encoder layer with the values of a block of hal."""
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 12, 0.0, "gelu", batch_first=True, norm_first=norm == "pre")
    names = {
        "self_attn.in_proj_weight": params["attention"]["joint"]["kernel"].T,
        "self_attn.in_proj_bias": params["attention"]["joint"]["bias"],
        "self_attn.out_proj.weight": params["attention"]["out"]["kernel"].T,
        "self_attn.out_proj.bias": params["attention"]["out"]["bias"],
        "norm1.weight": params["attention_norm"]["scale"],
        "norm1.bias": params["attention_norm"]["offset"],
        "linear1.weight": params["widen"]["kernel"].T,
        "linear1.bias": params["widen"]["bias"],
        "linear2.weight": params["narrow"]["kernel"].T,
        "linear2.bias": params["narrow"]["bias"],
        "norm2.weight": params["dense_norm"]["scale"],
        "norm2.bias": params["dense_norm"]["offset"],
    }
    layer.load_state_dict(names)
    return layer


def random_like(specs, seed=0):
    """Values that are nowhere 0 or 1, so that none can stand for another."""
    draw = np.random.default_rng(seed)

    def of(specs):
        if isinstance(specs, dict):
            return {name: of(spec) for name, spec in specs.items()}
        return put(draw.standard_normal(specs.shape).astype(np.float32) * 0.5)

    return of(specs)


@pytest.mark.parametrize("seen", ["all", "causal", "mask", "both"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_computes_what_torchs_layer_does(norm, seen):
    block = nn.TransformerBlock(HEADS, 12, norm, "gelu_exact", causal=seen in ("causal", "both"))
    params = random_like(block.params((TIME, WIDTH)))
    x = put(normal(3, TIME, WIDTH))
    there = np.ones((3, TIME), bool)
    if seen in ("mask", "both"):
        there[0, 3:] = there[1, 4:] = False
    mask = put(there[:, None, None, :]) if seen in ("mask", "both") else None
    found, _ = block.apply(params, {}, x, mask=mask)
    future = torch.ones(TIME, TIME, dtype=torch.bool).triu(1) if block.causal else None
    hidden = torch.from_numpy(~there) if mask is not None else None
    with torch.no_grad():
        expected = torch_block(norm, params).train()(x, src_mask=future, src_key_padding_mask=hidden)
    np.testing.assert_allclose(host(found)[there], expected.numpy()[there], atol=1e-5)


def test_heads_of_keys_serve_several_heads_of_queries():
    shared = nn.MultiHeadAttention(4, key_heads=2, causal=True)
    params = values(shared.params((TIME, WIDTH)))
    whole = nn.MultiHeadAttention(4, causal=True)
    joint = {}
    for name, value in params["joint"].items():
        query, key, source = np.split(host(value), [8, 12], axis=-1)
        doubled = [np.repeat(part.reshape(*part.shape[:-1], 2, 2), 2, axis=-2) for part in (key, source)]
        joint[name] = put(np.concatenate([query, *(part.reshape(*part.shape[:-2], 8) for part in doubled)], axis=-1))
    x = put(normal(2, TIME, WIDTH))
    found, _ = shared.apply(params, {}, x)
    expected, _ = whole.apply({**params, "joint": joint}, {}, x)
    np.testing.assert_allclose(host(found), host(expected), atol=1e-6)


def test_rotated_products_depend_on_the_distance_alone():
    query, key = normal(1, 1, 1, 6, seed=1), normal(1, 1, 1, 6, seed=2)
    every = [host(rotated(put(np.repeat(x, 9, axis=2)), 100.0))[0, 0] for x in (query, key)]
    products = every[0] @ every[1].T
    for distance in range(-8, 9):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)
    assert np.ptp(products[0]) > 0.1
    np.testing.assert_allclose(every[0][0], query[0, 0, 0], atol=1e-7)


def test_sinusoidal_positions_are_those_of_the_paper():
    x = put(np.zeros((1, 6, 8), np.float32))
    found = host(nn.SinusoidalPositions().apply({}, {}, x)[0])[0]
    for place in range(6):
        for pair in range(4):
            angle = place / 10000 ** (2 * pair / 8)
            np.testing.assert_allclose(found[place, [pair, pair + 4]], [np.sin(angle), np.cos(angle)], atol=1e-6)


def test_dropout_acts_in_training_alone_and_needs_a_key():
    block = nn.TransformerBlock(HEADS, dropout=0.5)
    params, x = values(block.params((TIME, WIDTH))), put(normal(2, TIME, WIDTH))
    still, _ = block.apply(params, {}, x, key=Key(0))
    dropped, _ = block.apply(params, {}, x, training=True, key=Key(0))
    again, _ = block.apply(params, {}, x, training=True, key=Key(0))
    other, _ = block.apply(params, {}, x, training=True, key=Key(1))
    assert np.array_equal(host(dropped), host(again))
    assert not np.array_equal(host(dropped), host(other))
    assert not np.array_equal(host(dropped), host(still))
    for layer in (block, nn.MultiHeadAttention(HEADS, dropout=0.5)):
        assert layer.draws
        with pytest.raises(ShapeError, match="without a random key"):
            layer.apply(values(layer.params((TIME, WIDTH))), {}, x, training=True)


@pytest.mark.parametrize(
    ("layer", "shape", "said"),
    [
        (nn.MultiHeadAttention(3), (5, 8), "3 heads and 3 heads of keys was given 8 features"),
        (nn.MultiHeadAttention(4, key_heads=3), (5, 8), "4 heads and 3 heads of keys"),
        (nn.MultiHeadAttention(2), (8,), r"inputs of shape \(8,\).*\(time, features\)"),
        (nn.TransformerBlock(2), (8,), r"inputs of shape \(8,\).*\(time, features\)"),
        (nn.LearnedPositions(4), (8,), r"inputs of shape \(8,\).*\(time, features\)"),
    ],
)
def test_shapes_that_do_not_fit(layer, shape, said):
    with pytest.raises(ShapeError, match=said):
        layer.params(shape)


def test_positions_that_do_not_fit():
    positions = nn.LearnedPositions(4)
    with pytest.raises(ShapeError, match="sequences of 5 steps, but it has learned positions for 4"):
        positions.apply(values(positions.params((5, 8))), {}, put(normal(1, 5, 8)))
    with pytest.raises(ShapeError, match="use an even number"):
        nn.SinusoidalPositions().apply({}, {}, put(normal(1, 5, 7)))
    assert shapes(positions.params((3, 8))) == {"table": (4, 8)}
