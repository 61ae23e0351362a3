"""Which calls a watch sees, under which layer, and that nothing is left behind."""

import numpy as np
import pytest

from hal import nn, ops, registry
from hal.contract.plan import Plan
from hal.nn import Layer
from hal.parity.evaluate import Evaluator
from hal.parity.watch import host_random, watched
from hal.tensor import Key, namespace

BACKEND = registry.backend("cpu")
DEVICE = BACKEND.devices()[0]


def put(*shape):
    return BACKEND.from_host(np.random.default_rng(0).standard_normal(shape).astype(np.float32), DEVICE)


def seen(function, params=None):
    """What a watch sees of a function: layer and op."""
    calls = []

    def watch(call):
        calls.append((call.layer, call.op))
        return call.run()

    with watched(BACKEND, DEVICE, params or {}, watch):
        function()
    return calls


def test_each_op_that_a_model_calls_and_none_that_an_op_calls():
    x = put(2, 4)
    assert seen(lambda: ops.softmax(ops.relu(x) + 1)) == [("", "relu"), ("", "softmax")]
    assert seen(lambda: ops.concat([x, x], axis=0)) == [("", "concat")]
    assert seen(lambda: ops.zeros_as((2,), like=x)) == [("", "zeros_as")]
    assert seen(lambda: ops.fold_in(Key(0), 1)) == []


def test_the_body_of_a_scan_is_part_of_it():
    def step(carry, x):
        carry = ops.tanh(carry + x)
        return carry, ops.relu(carry)

    assert seen(lambda: ops.relu(ops.scan(step, put(4), put(3, 4))[1])) == [("", "scan"), ("", "relu")]


def test_layers_are_named_by_their_parameters_and_their_place():
    inner = nn.Residual(nn.Sequential(nn.Dense(4, activation="relu"), nn.Dropout(0.5)), activation="relu")
    model = nn.Sequential(nn.Dense(4), inner, nn.Activation("tanh"), nn.Activation("tanh"), nn.Flatten())
    params = {"top": {"body": nn.initialize(model.params((4,)), 0)}}
    placed = {"top": {"body": _placed(params["top"]["body"])}}

    def run():
        model.apply(placed["top"]["body"], {}, put(2, 4), training=True, key=Key(0))
        nn.Activation("tanh").apply({}, {}, put(2))

    assert seen(run, placed) == [
        ("top/body/dense", "linear"),
        ("top/body/residual/body/dense", "linear"),
        ("top/body/residual/body/dense", "relu"),
        ("top/body/residual/body/dropout", "dropout"),
        ("top/body/residual", "relu"),
        ("top/body/activation", "tanh"),
        ("top/body/activation_1", "tanh"),
        ("top/body/flatten", "reshape"),
        ("activation", "tanh"),
    ]


def _placed(tree):
    return {name: _placed(x) if isinstance(x, dict) else BACKEND.from_host(x, DEVICE) for name, x in tree.items()}


def test_nothing_is_left_behind():
    before, applies = namespace(put(1)), {kind: kind.apply for kind in _kinds(Layer)}

    def fail():
        nn.Activation("relu").apply({}, {}, put(2))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        seen(fail)
    assert namespace(put(1)) is before
    assert {kind: kind.apply for kind in _kinds(Layer)} == applies
    assert ops.relu(put(2)) is not None


def _kinds(kind):
    for inner in kind.__subclasses__():
        yield inner
        yield from _kinds(inner)


def test_types_that_are_first_seen_meanwhile_are_forgotten():
    import torch

    class Special(torch.Tensor):
        pass

    special = put(2).as_subclass(Special)
    with host_random(BACKEND, DEVICE):
        inside = namespace(special)
    assert namespace(special) is namespace(put(1))
    assert namespace(special) is not inside


def test_random_numbers_are_numpys_in_any_precision():
    x = put(64, 64)
    with host_random(BACKEND, DEVICE):
        first, again = ops.normal(Key(3), (5,), like=x), ops.normal(Key(3), (5,), like=x)
        other = ops.normal(Key(4), (5,), like=x)
        narrow = ops.uniform(Key(3), (5,), like=ops.cast(x, namespace(x).bfloat16))
        dropped = ops.dropout(x, 0.25, Key(1))
    assert first.tolist() == again.tolist() != other.tolist()
    assert str(narrow.dtype) == "torch.bfloat16"
    kept = BACKEND.to_host(dropped != 0)
    assert 0.7 < kept.mean() < 0.8
    np.testing.assert_allclose(BACKEND.to_host(dropped)[kept], BACKEND.to_host(x)[kept] / 0.75, rtol=1e-6)


def test_attention_drops_what_dropout_drops_on_every_backend():
    other = registry.backend("jax")
    device = other.devices()[0]
    weights = []
    for backend, at in ((BACKEND, DEVICE), (other, device)):
        zeros = backend.from_host(np.zeros((2, 2, 3, 4), np.float32), at)
        values = backend.from_host(np.broadcast_to(np.eye(3, dtype=np.float32), (2, 2, 3, 3)).copy(), at)
        uniform = backend.from_host(np.full((2, 2, 3, 3), 1 / 3, np.float32), at)
        with host_random(backend, at):
            weights.append(backend.to_host(ops.attention(zeros, zeros, values, dropout=0.5, rng=Key(5))))
            dropped = backend.to_host(ops.dropout(uniform, 0.5, Key(5)))
        np.testing.assert_allclose(weights[-1], dropped, rtol=1e-6)
    assert 0 < (weights[0] == 0).mean() < 1
    np.testing.assert_allclose(*weights, rtol=1e-6)


# Gradients of single ops


def gradients(function):
    found = []

    def watch(call):
        result, evaluated = Evaluator(BACKEND, DEVICE, Plan(compile="eager"), 0).run(call, len(found))
        found.append(evaluated)
        return result

    with watched(BACKEND, DEVICE, {}, watch):
        function()
    return found[0].gradients


def test_gradients_have_the_names_of_the_arguments():
    x, kernel, bias = put(2, 3), put(3, 4), put(4)
    assert set(gradients(lambda: ops.linear(x, kernel, bias))) == {"x", "kernel", "bias"}
    assert set(gradients(lambda: ops.concat([x, x], axis=0))) == {"x1/0", "x1/1"}
    lstm = (put(2, 5, 3), (put(2, 4), put(2, 4)), put(3, 16), put(4, 16), put(16))
    assert set(gradients(lambda: ops.lstm(*lstm))) == {"x", "state/0", "state/1", "kernel", "recurrent", "bias"}
    stats = (put(3), put(3), ops.zeros_like(put(3)), ops.ones_like(put(3)))
    assert set(gradients(lambda: ops.batch_norm(x, *stats, training=True))) == {"x", "scale", "offset"}
    index, query = ops.positions(2, like=x), put(1, 2, 3, 4)
    assert set(gradients(lambda: ops.index_put(x, (index, None), put(2, 3), add=True))) == {"x", "values"}
    assert set(gradients(lambda: ops.einsum("ij,jk->ik", x, kernel))) == {"operands", "x3"}
    assert set(gradients(lambda: ops.attention(query, query, query, mask=put(3, 3)))) == {
        "query",
        "key",
        "value",
        "mask",
    }
    assert gradients(lambda: ops.argmax(x)) == {}
    assert gradients(lambda: ops.zeros_as((2,), like=x)) == {}


def test_what_equal_values_get_is_told_as_a_sum():
    flat = BACKEND.from_host(np.ones((1, 2, 2, 1), np.float32), DEVICE)
    found = gradients(lambda: ops.max_pool2d(flat, 2))["x"]
    assert len(np.unique(found)) == 1, "whichever of the four is taken, each is told what all get"
    steps = BACKEND.from_host(np.array([-1.0, 0.0, 3.0, 6.0, 7.0], np.float32), DEVICE)
    clipped = gradients(lambda: ops.clip(steps, 0, 6))["x1"]
    assert (clipped != 0).tolist() == [False, True, True, True, False]
