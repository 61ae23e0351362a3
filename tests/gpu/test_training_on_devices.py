"""Models on real devices: a few steps give what the processor gives, and a stopped run goes on as on the processor."""

import math
import signal

import numpy as np
import pytest

import hal
from hal.contract.device import PRECISIONS
from hal.errors import OutOfMemoryError
from hal.registry import backend
from hal.run import RunObserver
from hal.run.checkpoint import latest, load

STEPS = 4
TEXT = {"name": "topics", "validation": 0.02}
MODELS = {
    "cnn": {
        "model": {"name": "cnn", "filters": [8, 8, 8], "dense": 16, "size": 20},
        "data": {"name": "digits", "augment": "none"},
    },
    "mlp": {"model": {"name": "mlp", "hidden": [16]}, "data": {"name": "digits"}},
    **{
        f"rnn-{cell}": {
            "model": {"name": "rnn", "task": "classify", "cell": cell, "units": 16, "dropout": 0.0},
            "data": {"name": "digits"},
        }
        for cell in ("simple", "lstm", "gru")
    },
    "transformer-text": {
        "model": {"name": "transformer", "layers": 2, "width": 16, "heads": 2, "length": 16, "sample": 4},
        "data": TEXT,
        "steps": 2,
    },
    "transformer-classify": {
        "model": {"name": "transformer", "task": "classify", "layers": 2, "width": 16, "length": 24, "dropout": 0.0},
        "data": {"name": "docstrings"},
    },
    "transfer": {
        "model": {"name": "transfer", "weights": "random", "size": 32, "blocks": 6, "dropout": 0.0, "unfreeze": 1},
        "data": {"name": "synthetic:160"},
    },
    "rnn-text": {
        "model": {"name": "rnn", "units": 16, "embedding": 8, "length": 16, "dropout": 0.0, "sample": 4},
        "data": TEXT,
        "steps": 2,
    },
}
"""Without anything random in a step, since each device draws in its own way."""

TOLERANCES = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 5e-2, "fp16": 1e-2}


def keys(name, device=None, **more):
    # Plain gradient descent: adaptive optimizers divide by gradients that may be rounding errors.
    common = {"batch": 32, "steps": STEPS, "lr": 0.05, "schedule": "constant", "optimizer": {"name": "sgd"}}
    where = {"backend": "cpu"} if device is None else {"backend": device.backend, "device": device.index}
    return {**common, **MODELS[name], **where, **more}


def flat(tree, prefix=""):
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


def parameters(folder):
    return flat(load(latest(folder)).carry["params"])


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    made = {}

    def get(name, precision="fp32"):
        if (name, precision) not in made:
            folder = tmp_path_factory.mktemp("cpu") / name
            made[name, precision] = (hal.train(**keys(name, precision=precision), out=str(folder)), parameters(folder))
        return made[name, precision]

    return get


def supported(device, key, value):
    can = device.capabilities
    allowed = {"precision": can.supported_precisions(), **can.choices()}.get(key, ())
    if value not in allowed:
        pytest.skip(f"{device} ({device.arch}) has no {key}={value}: {', '.join(allowed)}")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_it_trains_as_the_processor_does(device, name, precision, on_cpu, tmp_path):
    supported(device, "precision", precision)
    # In fp16 a step that overflows is left out, on the processor as well.
    wanted, reference = on_cpu(name, "fp16" if precision == "fp16" else "fp32")
    record = hal.train(**keys(name, device, precision=precision), out=str(tmp_path / "run"))
    assert record.device.backend == device.backend
    tolerance = TOLERANCES[precision]
    for found, given in zip(record.epochs, wanted.epochs, strict=True):
        for metric, value in given.train.items():
            assert found.train[metric] == pytest.approx(value, rel=tolerance)
        for metric, value in given.validation.items():
            loose = 0.05 if metric == "accuracy" else 0.0  # one sample at the border more or less
            assert found.validation[metric] == pytest.approx(value, rel=tolerance, abs=loose)
    for path, value in parameters(tmp_path / "run").items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, reference[path], rtol=tolerance, atol=tolerance, err_msg=path)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_layouts_compute_the_same(device, layout, on_cpu, tmp_path):
    supported(device, "layout", layout)
    record = hal.train(**keys("cnn", device, layout=layout), out=str(tmp_path / "run"))
    assert record.epochs[0].train["loss"] == pytest.approx(on_cpu("cnn")[0].epochs[0].train["loss"], rel=1e-4)


# torch.compile imports parts of PyTorch that warn about themselves.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("mode", ["default", "max"])
def test_compiled_steps_compute_the_same(device, mode, accumulate, on_cpu, tmp_path):
    """With gradients of several parts, and an evaluation of several batches."""
    supported(device, "compile", mode)
    record = hal.train(**keys("cnn", device, compile=mode, accumulate=accumulate), out=str(tmp_path / "run"))
    wanted = on_cpu("cnn")[0].epochs[0]
    assert record.epochs[0].train["loss"] == pytest.approx(wanted.train["loss"], rel=1e-3)
    assert record.epochs[0].validation["loss"] == pytest.approx(wanted.validation["loss"], rel=1e-3)


RECORDED = {
    "cnn": {},
    "cnn-fp16-parts": {"precision": "fp16", "accumulate": 2},
    "cnn-compiled": {"compile": "default"},
    "cnn-searched": {"conv": "search", "optimizer": {"name": "rmsprop"}, "clip": 1.0, "schedule": "cosine"},
    "rnn-lstm": {},
    "transformer-text": {},
    "transfer": {},
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_steps_compute_the_same(device, name, tmp_path):
    """As one graph, what the kernels give one after the other: parameters, and an evaluation of several batches."""
    supported(device, "launch", "graph")
    more = RECORDED[name]
    for key, value in more.items():
        if key in ("precision", "compile", "conv"):
            supported(device, key, value)
    records = {}
    for launch in ("kernels", "graph"):
        given = keys(name if name in MODELS else "cnn", device, **{"steps": 8, **more}, launch=launch)
        records[launch] = hal.train(**{**given, "steps": 8}, out=str(tmp_path / launch))
    graph, plain = (records[launch].epochs[0] for launch in ("graph", "kernels"))
    for found, wanted in ((graph.train, plain.train), (graph.validation, plain.validation)):
        for metric, value in wanted.items():
            assert found[metric] == pytest.approx(value, rel=1e-3, abs=0.01 if metric == "accuracy" else 0)
    for path, value in parameters(tmp_path / "graph").items():
        np.testing.assert_allclose(value, parameters(tmp_path / "kernels")[path], rtol=1e-2, atol=1e-4, err_msg=path)


def test_recorded_steps_draw_anew(device, tmp_path):
    """Dropout and augmentation differ from step to step in a graph too, and a resumed run draws what it would have."""
    supported(device, "launch", "graph")
    given = {"model": {"name": "cnn", "size": 20, "filters": [8, 8, 8]}, "data": "digits", "batch": 32, "lr": 1e-9}
    given |= {"backend": device.backend, "device": device.index, "launch": "graph", "schedule": "constant"}
    whole = hal.train(**given, steps=12, out=str(tmp_path / "whole"))
    part = hal.train(**given, steps=6, out=str(tmp_path / "run"))
    assert part.epochs[0].train["loss"] != whole.epochs[0].train["loss"]
    resumed = hal.train(resume=str(tmp_path / "run"), steps=12)
    assert resumed.epochs[0].train["loss"] == pytest.approx(whole.epochs[0].train["loss"], rel=1e-5)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_average_pooling_with_padding(device, layout):
    """Its gradient, which PyTorch's kernel for channels last has wrong."""
    supported(device, "layout", layout)
    driver, host = backend(device.backend), np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype(np.float32)
    plan = hal.Plan(layout=layout).resolve(device)

    def loss(x):
        return hal.ops.sum(hal.ops.avg_pool2d(x, 3, strides=2, padding=((1, 1), (1, 1))) ** 2), ()

    with driver.settings(plan, device):
        images = driver.from_host(host, device, axes="NHWC", layout=layout)
        found = driver.to_host(driver.value_and_grad(loss)(images)[1])
    cpu = hal.device("cpu")
    expected = backend("cpu").to_host(backend("cpu").value_and_grad(loss)(backend("cpu").from_host(host, cpu))[1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_defaults_learn(device, tmp_path):
    """Augmentation and dropout draw on the device; nothing to compare with, but the loss falls."""
    record = hal.train(
        model={"name": "cnn", "size": 20},
        backend=device.backend,
        device=device.index,
        data={"name": "digits"},
        epochs=4,
        out=str(tmp_path / "run"),
    )
    losses = [epoch.train["loss"] for epoch in record.epochs]
    assert losses[-1] < 0.6 * losses[0]
    assert record.results["accuracy"] > 0.6


def test_the_gan_trains(device, tmp_path):
    record = hal.train(
        model={"name": "gan", "size": 20, "width": 8, "noise": 8, "grid": 2},
        backend=device.backend,
        device=device.index,
        data={"name": "synthetic:160"},
        epochs=1,
        out=str(tmp_path / "run"),
    )
    assert all(math.isfinite(value) for epoch in record.epochs for value in epoch.train.values())
    assert 0 <= record.results["frechet_distance"] < float("inf")
    assert (tmp_path / "run" / "samples-0001.png").stat().st_size > 0


class StopAt(RunObserver):
    def __init__(self, step):
        self.left = step

    def step(self, epoch, step, steps, samples, loss):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", ["cnn", "rnn-lstm"])
def test_a_stopped_run_goes_on(device, name, tmp_path):
    """Kernels may add in another order from call to call, so that equality has a tolerance here."""
    hal.train(**keys(name, device, steps=12), out=str(tmp_path / "whole"))
    stopped = hal.train(StopAt(5), **keys(name, device, steps=12), out=str(tmp_path / "run"))
    assert stopped.status == "interrupted"
    hal.train(resume=str(tmp_path / "run"))
    whole = parameters(tmp_path / "whole")
    for path, value in parameters(tmp_path / "run").items():
        np.testing.assert_allclose(value, whole[path], rtol=1e-5, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("way", ["to the device", "from the device"])
def test_a_run_moves_between_backends(device, way, tmp_path):
    there = {"backend": device.backend, "device": device.index}
    first, second = ({"backend": "cpu"}, there) if way == "to the device" else (there, {"backend": "cpu", "device": 0})
    hal.train(**{**keys("cnn"), **first, "steps": 3}, out=str(tmp_path / "moved"))
    hal.train(resume=str(tmp_path / "moved"), steps=6, **second)
    hal.train(**{**keys("cnn"), "steps": 6}, out=str(tmp_path / "whole"))
    whole = parameters(tmp_path / "whole")
    for path, value in parameters(tmp_path / "moved").items():
        np.testing.assert_allclose(value, whole[path], rtol=1e-4, atol=1e-4, err_msg=path)


def test_too_large_a_batch_is_out_of_memory(device, tmp_path):
    if device.memory_bytes is None:
        pytest.skip(f"{device} does not say how much memory it has")
    driver = backend(device.backend)
    count = device.memory_bytes // 2
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its type is the framework's
        [device.xp.zeros((count,)) for _ in range(3)]
    assert isinstance(driver.classify(caught.value), OutOfMemoryError)
    caught.value.__traceback__ = None


def test_a_bench_measures(device):
    found = hal.bench(
        **{k: v for k, v in keys("cnn", device).items() if k in ("model", "backend", "device")}, seconds=0.5
    )
    assert found.measurement.throughput.median > 0
    assert found.measurement.peak_memory_bytes is None or found.measurement.peak_memory_bytes > 0
