"""Mixed precision: what is cast, what stays fp32, and how the loss scale moves."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import optree
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from hal import nn, ops
from hal.config import build
from hal.data import Wanted
from hal.job import precision
from hal.job.carry import initial_carry, place_carry, start_optimizers
from hal.job.placing import place, put_batch
from hal.job.precision import cast_inputs, cast_params, initial_scale, next_scale
from hal.job.prepare import prepare
from hal.job.step import Step, evaluation, inference
from hal.nn import Defaults, LossOutput, Objective
from hal.registry import backend
from hal.run.config import RunConfig
from hal.tensor import namespace
from hal.tensor.gradients import neutral_unscale
from hal.workload import BUILT_IN

CPU = backend("cpu")


class Small(nn.Model):
    """Dense, batch norm, dense; remembers the dtypes that its loss saw."""

    defaults: ClassVar = Defaults(epochs=1, lr=0.05, batch=8, optimizer="sgd", data="synthetic:64")
    metric: ClassVar = ("loss", "min")
    seen: ClassVar[dict] = {}

    def __init__(self, config, data):
        super().__init__(config, data)
        self.body = nn.Sequential(nn.Flatten(), nn.Dense(6), nn.BatchNorm(), nn.Dense(10))

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (4, 4, 1))

    def params(self):
        return {"body": self.body.params(self.input_shape)}

    def state(self):
        return {"body": self.body.state(self.input_shape)}

    def objectives(self):
        return (Objective("classify", self.loss),)

    def loss(self, params, state, batch, key):
        logits, after = self.body.apply(params["body"], state["body"], batch["inputs"], training=True, key=key)
        self.seen.update(params=params, inputs=batch["inputs"], logits=logits, state=after)
        right = ops.cast(ops.argmax(logits, axis=-1) == batch["labels"], logits.dtype)
        return ops.mean(ops.cross_entropy(logits, batch["labels"])), LossOutput(
            {"body": after}, {"accuracy": ops.mean(right)}
        )

    def predict(self, params, state, inputs):
        return self.body.apply(params["body"], state["body"], inputs)[0]

    def evaluate(self, params, state, batch):
        return {"loss": ops.cross_entropy(self.predict(params, state, batch["inputs"]), batch["labels"])}


class Training:
    """One model's steps, with everything in reach."""

    def __init__(self, name, monkeypatch, optimizer="sgd", **keys):
        monkeypatch.setitem(BUILT_IN, "small", f"{__name__}:Small")
        self.job = prepare(build(RunConfig, {"model": "small", "backend": "cpu", "precision": name, **keys}))
        job, phase = self.job, self.job.model.phases(1)[0]
        self.optimizer = job.backend.optimizer(optimizer, {})
        self.step = Step(job.group, job.model, phase, job.plan, self.optimizer, job.params).build()
        self.carry = start_optimizers(place_carry(job, initial_carry(job, 0)), phase.objectives, self.optimizer)
        self.done = 0

    def __call__(self, spoil=None):
        batch = self.job.split.train.take(np.arange(self.job.plan.batch))
        if spoil is not None:
            batch["inputs"][0, 0, 0, 0] = spoil
        key = ops.fold_in(self.job.backend.rng(0, self.job.device), self.done)
        self.carry, metrics = self.step(self.carry, put_batch(self.job, batch), key, 0.05)
        self.done += 1
        return {name: float(x) for name, x in metrics.items()}

    def host(self, *names):
        tree = self.carry
        for name in names:
            tree = tree[name]
        return optree.tree_map(CPU.to_host, tree)

    @property
    def scale(self):
        return {name: float(value) for name, value in self.carry["scale"].items()}


def dtypes(tree):
    return {str(leaf.dtype).removeprefix("torch.") for leaf in optree.tree_leaves(tree)}


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(optree.tree_leaves(a), optree.tree_leaves(b), strict=True))


# What is cast


@pytest.mark.parametrize(("name", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_training_keeps_fp32_masters(name, dtype, monkeypatch):
    training = Training(name, monkeypatch)
    before = training.host("params")
    found = training()
    seen = Small.seen
    assert dtypes(training.carry["params"]) == {"float32"}
    assert dtypes(training.carry["optimizers"]) == {"float32"}
    assert dtypes(training.carry["state"]) == {"float32"}
    assert not equal(before, training.host("params"))
    assert dtypes(seen["inputs"]) == dtypes(seen["logits"]) == {dtype}
    assert dtypes(seen["params"]["body"]["dense"]) == {dtype}
    assert dtypes(seen["params"]["body"]["batchnorm"]) == {"float32"}, "normalisation stays fp32"
    assert dtypes(seen["state"]) == {"float32"}
    assert set(found) == {"loss", "accuracy"}


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_losses_and_metrics_are_fp32(name, monkeypatch):
    training = Training(name, monkeypatch)
    batch = put_batch(training.job, training.job.split.train.take(np.arange(8)))
    key = training.job.backend.rng(0, training.job.device)
    training.carry, metrics = training.step(training.carry, batch, key, 0.05)
    assert dtypes(metrics) == {"float32"}
    job = training.job
    sums = evaluation(job.backend, job.model, job.plan, job.params)(
        training.carry["params"], training.carry["state"], batch
    )
    assert dtypes(sums) == {"float32"}


def test_inference_computes_in_the_plans_precision(monkeypatch):
    training = Training("bf16", monkeypatch)
    job = training.job
    predict = inference(job.backend, job.model, job.plan, job.params)
    batch = put_batch(job, job.split.train.take(np.arange(8)))
    assert dtypes(predict(training.carry["params"], training.carry["state"], batch["inputs"])) == {"bfloat16"}


def test_integers_are_never_cast():
    x = {
        "ids": CPU.from_host(np.arange(3), CPU.devices()[0]),
        "x": CPU.from_host(np.ones(3, np.float32), CPU.devices()[0]),
    }
    model = SimpleNamespace(casts=True)
    cast = cast_inputs(model, x, "fp16")
    assert dtypes(cast["ids"]) == {"int64"}
    assert dtypes(cast["x"]) == {"float16"}
    assert cast_inputs(model, x, "fp32") is x
    assert cast_inputs(SimpleNamespace(casts=False), x, "fp16") is x
    specs = {"x": nn.Param((3,), "zeros"), "ids": nn.Param((3,), "zeros", cast=False)}
    assert dtypes(cast_params(x, specs, "bf16")["x"]) == {"bfloat16"}
    assert dtypes(cast_params(x, specs, "bf16")["ids"]) == {"int64"}
    assert cast_params(x, specs, "tf32") is x


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_low_precision_learns_as_fp32_does(name, monkeypatch):
    low, full = Training(name, monkeypatch, "adamw"), Training("fp32", monkeypatch, "adamw")
    lows, fulls = ([training()["loss"] for _ in range(12)] for training in (low, full))
    assert fulls[-1] < 0.5 * fulls[0]
    assert lows[0] != fulls[0], "it computes in another precision"
    np.testing.assert_allclose(lows, fulls, rtol=0.05, atol=0.02)


def test_accumulated_parts_are_averaged(monkeypatch):
    class Plain(Small):
        def __init__(self, config, data):
            super().__init__(config, data)
            self.body = nn.Sequential(nn.Flatten(), nn.Dense(6), nn.Dense(10))

    monkeypatch.setattr(f"{__name__}.Small", Plain)
    whole, parts = Training("fp32", monkeypatch), Training("fp32", monkeypatch, accumulate=4)
    first, second = whole(), parts()
    assert second == pytest.approx(first, rel=1e-5)
    for a, b in zip(*(optree.tree_leaves(t.host("params")) for t in (whole, parts)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# The loss scale


def test_only_fp16_has_a_scale():
    assert initial_scale("fp32") == initial_scale("bf16") == initial_scale("tf32") == {}
    assert initial_scale("fp16")["factor"] == 2.0**15


def put(**numbers):
    return {name: CPU.from_host(np.array(x, np.float32), CPU.devices()[0]) for name, x in numbers.items()}


@pytest.mark.parametrize(
    ("factor", "good", "finite", "wanted"),
    [
        (8.0, 0.0, True, (8.0, 1.0)),
        (8.0, 5.0, False, (4.0, 0.0)),
        (8.0, 1998.0, True, (8.0, 1999.0)),
        (8.0, 1999.0, True, (16.0, 0.0)),
        (8.0, 1999.0, False, (4.0, 0.0)),
        (1.0, 3.0, False, (1.0, 0.0)),
        (1.5, 3.0, False, (1.0, 0.0)),
    ],
)
def test_the_rule(factor, good, finite, wanted):
    scale = put(factor=factor, good_steps=good)
    after = next_scale(scale, namespace(scale["factor"]).asarray(finite))
    assert (float(after["factor"]), float(after["good_steps"])) == wanted


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (np.inf, False), (-np.inf, False), (np.nan, False)])
def test_one_value_that_is_not_finite_is_enough(value, finite):
    grads, one = {"a": put(x=1.0), "b": [put(x=value)["x"]]}, put(x=1.0)["x"]
    for unscale in (neutral_unscale, CPU.unscale):
        assert bool(unscale(grads, one)[1]) is finite


def test_kernels_for_all_gradients_at_once_give_the_same():
    """Bit for bit, from denormal numbers on; one of the gradients is that of two parameters, as autograd gives it."""
    rng = np.random.default_rng(0)
    host = {
        str(n): (rng.standard_normal((3, n + 1)) * 2.0 ** rng.integers(-149, 120)).astype(np.float32) for n in range(40)
    }
    grads = {**put(**host), "empty": put(x=np.zeros((0, 2), np.float32))["x"], "scalar": put(x=2.5)["x"]}
    grads["shared"] = grads["0"]
    for factor in (1.0, 2.0**15, 2.0**-3, 3.0):
        scale = put(x=factor)["x"]
        wanted, found = neutral_unscale(grads, scale), CPU.unscale(grads, scale)
        assert bool(found[1]) is bool(wanted[1]) is True
        for name, value in wanted[0].items():
            assert np.array_equal(CPU.to_host(found[0][name]), CPU.to_host(value)), name
    assert all(np.array_equal(CPU.to_host(grads[name]), value) for name, value in host.items()), "they are not changed"


class _Calls(TorchDispatchMode):
    """Counts what is given to PyTorch's dispatcher."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_unscaling_takes_as_many_calls_for_many_gradients_as_for_one():
    counts = []
    for number in (1, 50):
        grads, scale = {str(n): put(x=float(n))["x"] for n in range(number)}, put(x=2.0)["x"]
        with _Calls() as calls:
            CPU.unscale(grads, scale)
        counts.append(calls.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_an_overflow_halves_the_scale_and_skips_the_update(optimizer, monkeypatch):
    training = Training("fp16", monkeypatch, optimizer)
    training()
    assert training.scale == {"factor": 2.0**15, "good_steps": 1.0}
    before = {part: training.host(part) for part in ("params", "optimizers")}
    training(spoil=np.inf)
    assert training.scale == {"factor": 2.0**14, "good_steps": 0.0}
    assert equal(before["params"], training.host("params"))
    assert equal(before["optimizers"], training.host("optimizers")), "the step count stays too"
    training.carry["state"] = place(training.job, training.job.model.initial(0)[1], {})  # the batch norm saw it
    training()
    assert training.scale == {"factor": 2.0**14, "good_steps": 1.0}
    assert not equal(before["params"], training.host("params"))
    assert np.isfinite(optree.tree_leaves(training.host("params"))[0]).all()


def test_good_steps_double_the_scale(monkeypatch):
    monkeypatch.setattr(precision, "_GROWTH_STEPS", 3)
    training = Training("fp16", monkeypatch)
    factors = [(training(), training.scale["factor"])[1] for _ in range(6)]
    assert [f / 2**15 for f in factors] == [1, 1, 2, 2, 2, 4]


def test_the_scale_leaves_gradients_as_they_are(monkeypatch):
    small, large = Training("fp16", monkeypatch), Training("fp16", monkeypatch)
    small.carry["scale"] = put(factor=64.0, good_steps=0.0)
    assert small()["loss"] == large()["loss"], "the loss that is reported is not scaled"
    for a, b in zip(*(optree.tree_leaves(t.host("params")) for t in (small, large)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4)
