"""Gradients that are zero in theory raise no alarm, and faults of one percent are still named."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity_helpers import Defaults, compared, spoiled, with_ops

import hal
from hal import ops, registry
from hal.contract.plan import Plan
from hal.parity.cancellation import cancellation, gradient_scales
from hal.parity.deviation import STEP, TOLERANCES, deviation, scale_of
from hal.parity.evaluate import Evaluator
from hal.parity.verdict import verdict
from hal.parity.watch import watched

FILE = Path(__file__).with_name("cancelling_models.py")
# For each model, gradients that are zero in theory, or all but zero.
ZERO = {
    "ResNet": {
        "net/conv2d/bias",
        "net/conv2d_1/bias",
        "net/residual/body/conv2d/bias",
        "net/residual/body/conv2d_1/bias",
    },
    "Encoder": {"key/bias"},
    "Invariances": {"factor", "hidden/bias", "rows", "shift", "dead/kernel", "dead/bias"},
}
OPS = {
    "ResNet": ("conv2d", "batch_norm", "relu", "max_pool2d", "linear", "mean", "cross_entropy"),
    "Encoder": ("reshape", "linear", "layer_norm", "permute_dims", "attention", "gelu", "mean", "cross_entropy"),
}


def keys(name, **more):
    return {"model": f"{FILE}:{name}", "data": "synthetic:60", "batch": 6, "steps": 1, **more}


def cancelled(found):
    each = {finding.name.partition(": ")[2]: finding.cancellation for finding in found.gradients}
    return {name for name, factor in each.items() if factor is None or factor > 1000}


# No false alarms


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ZERO)
def test_gradients_that_are_zero_in_theory_agree(name, seed, other):
    other(Defaults)
    found = compared(keys(name, seed=seed))
    assert found.agrees, verdict(found, found.side)
    assert cancelled(found) == ZERO[name]
    assert {each.what: each.count for each in found.compared.skipped}["gradients that cancel"] == len(ZERO[name])
    normal = [each.cancellation for each in found.gradients if each.name.partition(": ")[2] not in ZERO[name]]
    assert max(normal) < 3, "an ordinary gradient is not to be measured by more than its own scale"


@pytest.mark.parametrize("name", ZERO)
def test_they_agree_in_narrow_numbers_too(name, other):
    other(Defaults)
    found = compared(keys(name), precision="bf16")
    assert found.agrees, verdict(found, found.side)


BACKEND = registry.backend("cpu")
DEVICE = BACKEND.devices()[0]


def put(*shape, near=0.0):
    values = np.random.default_rng(len(shape)).standard_normal(shape) + near
    return BACKEND.from_host(values.astype(np.float32), DEVICE)


def _one_source():
    return ops.attention(put(2, 2, 3, 4), put(2, 2, 1, 4), put(2, 2, 1, 4))


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (_one_source, "query"),
        (lambda: ops.softmax(put(4, 1)), "x"),
        (lambda: ops.layer_norm(put(5, 2, near=3.0), put(2), put(2), epsilon=0.0), "x"),
        (lambda: ops.batch_norm(put(2, 5), put(5), put(5), put(5), put(5), training=True, epsilon=1e-12), "x"),
        (lambda: ops.cross_entropy(put(4, 1), BACKEND.from_host(np.zeros(4, np.int64), DEVICE)), "logits"),
    ],
    ids=["attention", "softmax", "layer_norm", "batch_norm", "cross_entropy"],
)
def test_an_op_whose_gradient_is_zero_whatever_it_gets(function, argument):
    plan = Plan(precision="fp32", compile="eager")
    exact, scales, other = [], [], []

    def watch(call):
        evaluator = Evaluator(BACKEND, DEVICE, plan, 0)
        result, evaluated = evaluator.run(call, 0)
        exact.append(evaluated)
        scales.append(evaluator.scales(call, result, evaluated, 0))
        return result

    def watch_other(call):
        result, evaluated = Evaluator(backend, DEVICE, plan, 0).run(call, 0)
        other.append(evaluated)
        return result

    backend = Defaults()
    with watched(BACKEND, DEVICE, {}, watch):
        function()
    with watched(backend, DEVICE, {}, watch_other):
        function()
    limit, scale = TOLERANCES["fp32"].op, scales[0].gradients[argument]
    found = deviation(other[0].gradients[argument], exact[0].gradients[argument], scale)
    assert not limit.exceeded(found), found
    assert scale_of(exact[0].gradients[argument]).largest < 1e-5
    noise = np.full(exact[0].gradients[argument].shape, 0.01, np.float32)
    assert limit.exceeded(deviation(noise, exact[0].gradients[argument], scale)), "a gradient where none should be"


# No blindness


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    for name in OPS:
        hal.verify(**keys(name), backend="cpu", record=str(folder / name))
    return folder


def test_every_op_of_the_models_is_spoiled(traces):
    from hal.parity import store

    for name, listed in OPS.items():
        assert {op.op for op in store.load(traces / name).ops} == set(listed)


@pytest.mark.parametrize("kind", ["forward", "gradient", "element"])
@pytest.mark.parametrize(("name", "op"), [(name, op) for name, listed in OPS.items() for op in listed])
def test_one_percent_in_one_op_is_named(name, op, kind, traces, other):
    other(with_ops(spoiled(op, kind)))
    found = hal.verify(against=str(traces / name), backend="other").comparisons[0]
    assert not found.agrees
    assert {each.op for each in found.ops if each.exceeds} == {op}
    assert found.first.op == op
    assert found.first.exceeds[0] == ("gradient" if kind == "gradient" else "forward")
    assert f"{op}: its {'gradient' if kind == 'gradient' else 'result'}" in verdict(found, found.side)


# The same in plain PyTorch


def _plain(dtype, moved=None, fault=1.0):
    """Gradients of a convolution with a bias before a batch normalization, and of attention with a key bias."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.standard_normal((4, 1, 3, 3)) / 3,
        "bias": np.zeros(4),
        "key": random.standard_normal((16, 16)) / 4,
        "key bias": np.zeros(16),
    }
    params = {name: torch.tensor(x, dtype=dtype, requires_grad=True) for name, x in weights.items()}
    x, signs = torch.tensor(random.standard_normal((8, 1, 10, 10)), dtype=dtype), np.random.default_rng(moved or 0)

    def move(x):
        shift = STEP["fp32"] * (2.0 * signs.integers(0, 2, tuple(x.shape)) - 1)
        factor = torch.tensor(1 + shift, dtype=dtype)
        x.register_hook(lambda gradient: gradient * factor)

    def op(function, *args):
        given = [arg.view_as(arg) for arg in args]
        for arg in given:
            if moved is not None and arg.requires_grad:
                move(arg)
        return function(*given)

    y = op(F.conv2d, x, params["kernel"], params["bias"])
    y = op(lambda y: F.relu(F.batch_norm(y, None, None, training=True)), y)
    y = op(lambda y: y.reshape(8, 16, 16), y)
    keys = op(lambda y, w, b: F.linear(y, w, b), y, params["key"], params["key bias"])
    seen = op(lambda q, k, v: F.scaled_dot_product_attention(q, k, v), y, keys, y)
    loss = op(lambda s: (s**2).mean() * fault, seen)
    found = torch.autograd.grad(loss, list(params.values()))
    return {name: g.double().numpy() for name, g in zip(params, found, strict=True)}


def test_plain_pytorch_is_judged_alike():
    found, exact = _plain(torch.float32), _plain(torch.float64)
    scales = gradient_scales(found, [_plain(torch.float32, moved=run) for run in (1, 2)], 6, "fp32")
    limit = TOLERANCES["fp32"].gradient
    each = {name: deviation(found[name], exact[name], scales[name]) for name in found}
    assert not any(map(limit.exceeded, each.values())), each
    assert {name for name in found if cancellation(found[name], scales[name]) > 1000} == {"bias", "key bias"}
    assert limit.exceeded(deviation(found["bias"], exact["bias"])), "without the scale this is the false alarm"
    wrong = _plain(torch.float32, fault=1.01)
    seen = {name for name in found if limit.exceeded(deviation(wrong[name], found[name], scales[name]))}
    assert seen == {"kernel", "key"}
