"""Layers' ops on the null backend against the defaults on NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from null_helpers import NUMPY, XP, agree, f32, form, i64, many, put, some

import hal.ops
from hal.errors import ShapeError, UnsupportedError
from hal.tensor import Key


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    size = st.integers(1, 9)
    x = (draw(st.integers(1, 2)), draw(size), draw(size), groups * draw(st.integers(1, 2)))
    window = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    kernel = (*window, x[3] // groups, groups * draw(st.integers(1, 3)))
    explicit = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
    facts = {
        "strides": draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))),
        "padding": draw(st.one_of(st.sampled_from(["same", "valid"]), explicit)),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
    }
    return x, kernel, facts


def same_outcome(name, *args, **kwargs):
    """Both backends give the same form, or both refuse."""
    try:
        wanted = form(getattr(NUMPY, name)(*args, **kwargs))
    except ShapeError:
        with pytest.raises(ShapeError):
            getattr(hal.ops, name)(*put(args), **kwargs)
        return
    assert form(getattr(hal.ops, name)(*put(args), **kwargs)) == wanted


@given(convolutions(), st.booleans())
@many
def test_conv2d(case, bias):
    x, kernel, facts = case
    same_outcome("conv2d", f32(*x), f32(*kernel), f32(kernel[3]) if bias else None, **facts)


@given(convolutions())
@some
def test_conv2d_transpose(case):
    x, kernel, facts = case
    kernel = (*kernel[:2], x[3], kernel[3] // facts["groups"])
    more = 0 if isinstance(facts["padding"], str) else (1, 0)
    same_outcome("conv2d_transpose", f32(*x), f32(*kernel), output_padding=more, **facts)


@given(convolutions(), st.sampled_from(["max_pool2d", "avg_pool2d"]))
@some
def test_pooling(case, name):
    x, kernel, facts = case
    more = {"dilation": facts["dilation"]} if name == "max_pool2d" else {"count_padding": facts["groups"] > 1}
    same_outcome(name, f32(*x), kernel[:2], strides=facts["strides"], padding=facts["padding"], **more)


@given(convolutions())
@some
def test_conv1d(case):
    x, kernel, facts = case
    strides = facts["strides"] if isinstance(facts["strides"], int) else facts["strides"][1]
    padding = facts["padding"] if isinstance(facts["padding"], str) else facts["padding"][1]
    options = {"dilation": facts["dilation"], "groups": facts["groups"]}
    same_outcome("conv1d", f32(*x[1:]), f32(*kernel[1:]), strides=strides, padding=padding, **options)


def test_conv2d_shapes_by_hand():
    x, kernel = put(f32(8, 28, 28, 3)), put(f32(3, 3, 3, 16))
    assert hal.ops.conv2d(x, kernel).shape == (8, 28, 28, 16)
    assert hal.ops.conv2d(x, kernel, padding="valid").shape == (8, 26, 26, 16)
    assert hal.ops.conv2d(x, kernel, strides=2).shape == (8, 14, 14, 16)
    assert hal.ops.conv2d(x, kernel, strides=2, padding="valid").shape == (8, 13, 13, 16)
    assert hal.ops.conv2d(x, kernel, dilation=2, padding="valid").shape == (8, 24, 24, 16)
    assert hal.ops.conv2d(x, put(f32(3, 3, 1, 6)), groups=3).shape == (8, 28, 28, 6)
    assert hal.ops.conv2d_transpose(x, kernel, strides=2).shape == (8, 56, 56, 16)
    assert hal.ops.conv2d_transpose(x, kernel, strides=2, padding="valid").shape == (8, 57, 57, 16)
    assert hal.ops.conv2d_transpose(x, put(f32(2, 2, 3, 4)), strides=3, padding="valid").shape == (8, 84, 84, 4)


def test_network_ops():
    x = f32(2, 5, 6)
    for name in ("relu", "leaky_relu", "elu", "gelu", "erf", "sigmoid", "silu", "softplus", "softmax", "log_softmax"):
        agree(name, x)
        assert getattr(hal.ops, name)(XP.ones((2, 3), dtype=XP.bfloat16)).dtype == XP.bfloat16
    agree("linear", x, f32(6, 4), f32(4))
    agree("embedding", f32(10, 7), i64(2, 3))
    agree("layer_norm", x, f32(6), f32(6))
    agree("batch_norm", x, f32(6), f32(6), f32(6), f32(6), training=True)
    agree("batch_norm", x, f32(6), f32(6), f32(6), f32(6), training=False)
    agree("cross_entropy", f32(4, 3, 10), i64(4, 3))
    agree("sigmoid_cross_entropy", f32(4, 3), f32(4, 3))
    agree("squared_error", f32(4, 3), f32(4, 3))
    agree("attention", f32(2, 4, 5, 8), f32(2, 4, 7, 8), f32(2, 4, 7, 3))
    agree("attention", f32(2, 4, 5, 8), f32(2, 1, 5, 8), f32(2, 1, 5, 3), causal=True)
    agree("attention", f32(2, 4, 5, 8), f32(2, 4, 7, 8), f32(2, 4, 7, 3), mask=np.ones((5, 7), bool))
    agree("attention", f32(2, 4, 5, 8), f32(2, 2, 7, 8), f32(2, 2, 7, 3), mask=f32(5, 7), dropout=0.5, rng=Key(1))
    agree("gelu", x, exact=True)
    agree("group_norm", x, 3, f32(6), f32(6))
    agree("einsum", "bti,bsi->bst", x, f32(2, 7, 6))
    agree("einsum", "...i,ij,jk", x, f32(6, 4), f32(4, 3))
    agree("scatter", x, 1, i64(1, 7, 6), f32(1, 7, 6), add=True)
    agree("index_put", x, (i64(3, 1), None, i64(4)), f32(5))
    agree("topk", x, 2, axis=1)
    agree("dropout", x, 0.5, Key(1))
    agree("rnn", x, None, f32(6, 3), f32(3, 3), f32(3))
    agree("lstm", x, None, f32(6, 12), f32(3, 12), f32(12))
    agree("lstm", x, (f32(2, 3), f32(2, 3)), f32(6, 12), f32(3, 12), f32(12))
    agree("gru", x, f32(2, 3), f32(6, 9), f32(3, 9), f32(9), f32(9))
    agree("squeeze", f32(1, 3, 1), axis=(0, 2))
    agree("searchsorted", f32(5), f32(2, 3))
    agree("astype", x, np.float64)
    assert hal.ops.cross_entropy(XP.ones((2, 3), dtype=XP.bfloat16), XP.zeros(2, dtype=XP.int64)).dtype == XP.float32
    assert form(hal.ops.normal(Key(0), (3, 4), like=put(x))) == ((3, 4), "float32")
    assert form(hal.ops.uniform(Key(0), (3,), like=put(x))) == ((3,), "float32")


def test_network_ops_that_do_not_fit():
    x = put(f32(2, 5, 6))
    with pytest.raises(ShapeError, match=r"initial state|bias"):
        hal.ops.rnn(x, put(f32(3, 3)), put(f32(6, 3)), put(f32(3, 3)), put(f32(3)))
    with pytest.raises(UnsupportedError, match="cast them"):
        hal.ops.linear(x, XP.ones((6, 2), dtype=XP.bfloat16))
    with pytest.raises(ShapeError, match="broadcast"):
        hal.ops.attention(*[put(f32(1, 2, 3, 4))] * 3, mask=put(np.ones((2, 2), bool)))


def test_scan():
    def step(carry, x):
        carry = carry + x
        return carry, hal.ops.sum(carry)

    carry, ys = hal.ops.scan(step, put(f32(3)), put(f32(7, 3)))
    assert (carry.shape, ys.shape) == ((3,), (7,))
