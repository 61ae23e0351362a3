"""Modules of a user's own through the whole of hal: training, resuming, predicting, weights, and what is refused."""

import json
import textwrap

import numpy as np
import pytest
import safetensors.torch
import torch
from user_files import ALIKE, CNN, GAN, MANY, PAIRS, POINTS, SLOPES

import hal
from hal.errors import ConfigError, DataError, InputError, NotFoundError, RequestError, UnsupportedError
from hal.workload import configure, model_class


@pytest.fixture
def write(tmp_path):
    """Writes a file and gives the name of the model in it."""

    def written(text, name="Net", file="net.py"):
        path = tmp_path / file
        path.write_text(textwrap.dedent(text))
        return f"{path}:{name}"

    return written


def run(folder, **keys):
    return hal.train(backend="cpu", out=str(folder), threads=1, **keys)


def loaded(path):
    return safetensors.torch.load_file(path / "model.safetensors")


def test_a_run_ends_with_weights_that_the_module_takes(write, tmp_path):
    name = write(CNN)
    run(tmp_path / "run", model={"name": name, "width": 3}, steps=3, batch=8)
    net = _class(name)(width=3)
    before = net.body[0].weight.clone()
    net.load_state_dict(loaded(tmp_path / "run"))
    assert not torch.equal(before, net.body[0].weight)
    assert net.body[1].num_batches_tracked.item() == 3
    net.eval()
    images = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    found = hal.predict(tmp_path / "run", images, backend="cpu")
    wanted = net(torch.from_numpy(images).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def _class(name):
    import runpy

    path, _, attribute = name.rpartition(":")
    return runpy.run_path(path)[attribute]


def test_a_step_is_the_step_of_a_plain_loop(write, tmp_path):
    """The same initial values, batch and optimizer give the same parameters as a loop in plain PyTorch."""
    name = write(CNN.replace("nn.Dropout(0.2)", "nn.Dropout(0.0)"))
    cls = model_class(name)
    keys = configure(cls, {})
    from hal.data import Wanted, batches, load

    split = load("digits", Wanted("image", (8, 8, 1)), seed=7)
    params, _ = cls(keys, split.train).initial(7)
    net = _class(name)()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in params.items()}, strict=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for batch in list(batches(split.train, 16, seed=7, epoch=0))[:3]:
        optimizer.zero_grad()
        images = torch.from_numpy(batch["inputs"]).permute(0, 3, 1, 2)
        torch.nn.functional.cross_entropy(net(images), torch.from_numpy(batch["labels"])).backward()
        optimizer.step()
    run(
        tmp_path / "run",
        model=name,
        seed=7,
        steps=3,
        batch=16,
        lr=0.1,
        optimizer="sgd",
        schedule="constant",
        layout="nchw",
    )
    found = loaded(tmp_path / "run")
    for key, value in net.state_dict().items():
        torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("text", [CNN, POINTS], ids=["dropout and statistics", "own data with random changes"])
def test_a_resumed_run_is_the_uninterrupted_one(write, tmp_path, text):
    name = write(text)
    keys = {"model": name, "batch": 16, "schedule": "constant"}
    run(tmp_path / "whole", steps=6, **keys)
    run(tmp_path / "first", steps=3, **keys)
    run(tmp_path / "rest", steps=6, resume=str(tmp_path / "first"), **keys)
    whole, rest = loaded(tmp_path / "whole"), loaded(tmp_path / "rest")
    assert all(torch.equal(whole[key], rest[key]) for key in whole)


def test_own_data_loss_and_metrics(write, tmp_path):
    record = run(tmp_path / "run", model=write(POINTS), epochs=6, batch=8, lr=0.05)
    assert set(record.results) >= {"loss", "error"}
    assert record.results["loss"] < 0.5, "the points are learned"


def test_a_module_of_classes_is_judged_by_accuracy_and_one_with_another_loss_by_that(write, tmp_path):
    def judged(text, file):
        record = run(tmp_path / file, model=write(text, file=f"{file}.py"), steps=1, batch=8)
        return record.metric, record.better

    assert judged(CNN, "classes") == ("accuracy", "max")
    assert judged(POINTS, "points") == ("loss", "min")
    own = POINTS.replace('"error"', '"accuracy"')
    assert judged(own, "own") == ("accuracy", "max"), "its metrics() give one"


def test_several_inputs_tied_weights_and_a_loss_of_the_module(write, tmp_path):
    name = write(PAIRS)
    record = run(tmp_path / "run", model=name, steps=150, batch=32, lr=0.05)
    assert record.results["accuracy"] > 0.3
    held = loaded(tmp_path / "run")
    assert set(held) == {"words.weight", "out.weight"}
    _class(name)().load_state_dict(held)


def test_submodules_with_losses_of_their_own(write, tmp_path):
    record = run(tmp_path / "run", model=write(GAN, "Pair"), steps=4, batch=16)
    assert {"critic_loss", "generator_loss"} <= set(record.results)


def test_inference_keeps_nothing_for_gradients_unless_the_module_takes_some(write, tmp_path):
    note = "        with open(__file__ + '.log', 'a') as log:\n            log.write(f'{torch.is_grad_enabled()}\\n')\n"
    for text, file, wanted in ((POINTS, "plain.py", {"False"}), (SLOPES, "slopes.py", {"True", "False"})):
        logged = text.replace("    def forward(self, x):\n", "    def forward(self, x):\n" + note)
        run(tmp_path / file.removesuffix(".py"), model=write(logged, file=file), steps=1, batch=16)
        log = tmp_path / f"{file}.log"
        log.unlink()
        hal.predict(tmp_path / file.removesuffix(".py"), np.zeros((2, 4), np.float32), backend="cpu")
        assert set(log.read_text().split()) == wanted


@pytest.mark.parametrize(
    "text", [CNN, PAIRS, ALIKE, MANY], ids=["images", "several inputs", "inputs alike", "eleven inputs"]
)
def test_the_translation_computes_what_the_module_does(write, tmp_path, text):
    """Trained on both sides without random numbers, parameters and losses agree."""
    text = text.replace("nn.Dropout(0.2)", "nn.Dropout(0.0)")
    keys = {"model": write(text), "steps": 3, "batch": 8, "seed": 1, "optimizer": "sgd", "lr": 0.1}
    native = run(tmp_path / "cpu", **keys)
    graph = hal.train(backend="jax", device="jax:cpu:0", out=str(tmp_path / "jax"), **keys)
    assert graph.results["loss"] == pytest.approx(native.results["loss"], abs=1e-4)
    here, there = loaded(tmp_path / "cpu"), loaded(tmp_path / "jax")
    assert all(here[key].dtype == there[key].dtype for key in here)
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, atol=1e-4, rtol=1e-4)


def test_inputs_by_position_may_be_given_by_the_names_of_the_arguments(write, tmp_path):
    text = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, left, right):
            return self.head(left - 2 * right)

    def example_inputs(batch):
        return torch.rand(batch, 3), torch.rand(batch, 3), torch.randint(0, 2, (batch,))
    """
    run(tmp_path / "run", model=write(text), steps=1, batch=8)
    left, right = np.random.default_rng(0).random((2, 4, 3), np.float32)
    wanted = hal.predict(tmp_path / "run", (left, right), backend="cpu")
    np.savez(tmp_path / "pairs.npz", right=right, left=left)
    named = {"right": right, "left": left}
    np.testing.assert_array_equal(hal.predict(tmp_path / "run", named, backend="cpu"), wanted)
    found = hal.load(tmp_path / "run", backend="cpu").predict(tmp_path / "pairs.npz")
    assert [each.top[0].number for each in found] == wanted.argmax(1).tolist()
    with pytest.raises(InputError, match="inputs are left, x, but the model takes left, right"):
        hal.predict(tmp_path / "run", {"left": left, "x": right}, backend="cpu")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_narrow_precisions_are_those_of_autocast(write, tmp_path, precision):
    keys = {"model": write(CNN), "steps": 2, "batch": 8, "lr": 1e-3}
    narrow = run(tmp_path / "narrow", precision=precision, **keys)
    wide = run(tmp_path / "wide", **keys)
    assert narrow.results["loss"] == pytest.approx(wide.results["loss"], rel=0.05)
    assert narrow.results["loss"] != wide.results["loss"]
    assert all(value.dtype in (torch.float32, torch.int64) for value in loaded(tmp_path / "narrow").values())


def test_weights_are_loaded_before_training(write, tmp_path):
    name = write(CNN)
    net = _class(name)()
    torch.save(net.state_dict(), tmp_path / "start.pth")
    run(tmp_path / "run", model=name, weights=str(tmp_path / "start.pth"), steps=1, batch=8, lr=1e-9)
    torch.testing.assert_close(loaded(tmp_path / "run")["head.weight"], net.head.weight.detach(), atol=1e-7, rtol=0)
    torch.save({"head.weight": net.head.weight}, tmp_path / "part.pth")
    with pytest.raises(DataError, match=r"net\.py:Net has body\.0\.weight.*which the file lacks"):
        run(tmp_path / "no", model=name, weights=str(tmp_path / "part.pth"))
    with pytest.raises(ConfigError, match="PyTorch module of your own"):
        run(tmp_path / "no", model="cnn", weights=str(tmp_path / "part.pth"))
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("edit", "keys", "error", "message"),
    [
        ({}, {"widht": 3}, ConfigError, "did you mean .*width"),
        ({}, {"width": "wide"}, ConfigError, "width"),
        ({}, {"classes": 5}, ConfigError, "outputs for 5 classes, but data=digits has 10"),
        ({"16 * width": "17 * width"}, {}, RequestError, r"(?s)shapes cannot be multiplied.*net\.py\", line 13"),
        ({"self.drop(": "self.dorp("}, {}, RequestError, "(?s)AttributeError.*self.dorp"),
        ({"super().__init__()": "raise ValueError('no such width')"}, {}, RequestError, "ValueError: no such width"),
        ({"flatten(1)))": "flatten(1))).sum(1)"}, {}, ConfigError, "have no cross-entropy"),
    ],
)
def test_errors_of_a_module_are_those_of_its_author(write, tmp_path, edit, keys, error, message):
    text = CNN
    for old, new in edit.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(error, match=message) as raised:
        run(tmp_path / "run", model={"name": write(text), **keys}, steps=1)
    shown = str(raised.value)
    assert "hal/torch" not in shown
    assert "site-packages/torch" not in shown
    assert not (tmp_path / "run").exists()


def test_modules_of_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models_of_mine").mkdir()
    (tmp_path / "models_of_mine" / "small.py").write_text(CNN)
    run(tmp_path / "run", model="models_of_mine.small:Net", steps=1, batch=8)
    with pytest.raises(ConfigError, match="did you mean Net"):
        model_class("models_of_mine.small:Nett")
    with pytest.raises(NotFoundError, match="no Python package or module nowhere"):
        model_class("nowhere.at.all:Net")
    with pytest.raises(ConfigError, match=r"neither a torch\.nn\.Module nor"):
        model_class("json.decoder:NaN")


def test_a_run_of_a_package_from_elsewhere_is_not_called(tmp_path, write):
    """A folder that names a function of a package as its model is data."""
    run(tmp_path / "run", model=write(CNN), steps=1, batch=8)
    (folder,) = (tmp_path / "run" / "checkpoints").iterdir()
    meta = json.loads((folder / "checkpoint.json").read_text())
    meta["config"]["model"] = meta["setup"]["workload"]["model"] = "os:getcwd"
    from hal.run import checkpoint

    checkpoint.save(
        tmp_path / "run" / "checkpoints", checkpoint.Checkpoint(2, checkpoint.load(folder).carry, {**meta, "best": 2})
    )
    with pytest.raises(hal.errors.CheckpointError):
        hal.predict(tmp_path / "run", np.zeros((1, 8, 8, 1), np.float32))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("batch[1]).abs().mean()", "batch[1]).abs().mean().item()", 30),
        ("batch[1]).abs().mean()", "batch[1]).abs().mean() if outputs.sum() > 0 else 0.0", 30),
        ("mse_loss(outputs, batch[1])", "mse_loss(outputs, batch[1]) * outputs.std().item()", 27),
    ],
)
def test_what_cannot_be_translated_beside_the_module_is_refused_with_its_line(write, tmp_path, old, new, line):
    name = write(POINTS.replace(old, new))
    place = rf".*net\.py:{line}: " if hasattr(torch.fx.proxy, "_register_stack_trace_anchor") else ""
    with pytest.raises(UnsupportedError, match=rf"cannot be translated{place}"):
        hal.train(model=name, backend="jax", device="jax:cpu:0", out=str(tmp_path / "run"), steps=1, batch=8)
    assert not (tmp_path / "run").exists()


def test_a_module_that_is_frozen_cannot_be_trained(write, tmp_path):
    name = write(CNN.replace("        self.drop =", "        self.requires_grad_(False)\n        self.drop ="))
    frozen = name.replace(":Net", ":frozen")
    with open(name.rpartition(":")[0], "a") as file:
        file.write("\ndef frozen():\n    return Net().requires_grad_(False)\n")
    with pytest.raises(ConfigError, match="no parameters to train"):
        run(tmp_path / "run", model=frozen, steps=1)
    run(tmp_path / "part", model=name, steps=2, batch=8)  # the head alone
    net = _class(name)()
    assert not net.body[0].weight.requires_grad


def test_two_processes_compute_what_one_does(write, tmp_path):
    keys = {"model": write(POINTS.replace("nn.Dropout(0.1)", "nn.Dropout(0.0)")), "steps": 3, "batch": 8, "lr": 0.05}
    alone = run(tmp_path / "alone", **keys)
    both = run(tmp_path / "both", parallel="dp=2", **keys)
    assert both.results["loss"] == pytest.approx(alone.results["loss"], rel=1e-2)  # their samples' noise differs


def test_a_bench_and_inference(write):
    found = hal.bench(model=write(CNN), backend="cpu", batch=8, mode="infer", seconds=0.2, threads=1)
    assert found.measurement.throughput.median > 0


@pytest.mark.parametrize(("code", "named"), [(PAIRS, "synthetic:10"), (MANY, "synthetic:10"), (GAN, "synthetic:10")])
def test_synthetic_data_are_made_of_example_inputs(write, tmp_path, code, named):
    name = write(code, "Pair" if code is GAN else "Net")
    found = run(tmp_path / "run", model=name, data={"name": named, "validation": 0.4}, batch=3, epochs=1)
    assert found.samples == {"train": 6, "validation": 4}
    again = hal.train(resume=str(tmp_path / "run"), epochs=2)
    assert [epoch.epoch for epoch in again.epochs] == [1, 2]


def test_more_samples_than_memory_holds(write, tmp_path):
    with pytest.raises(DataError, match=r"10,000,000,000,000 samples"):
        run(tmp_path / "run", model=write(PAIRS), data="synthetic:10000000000000")


VOLUMES = (
    PAIRS.split("class Net")[0]
    + """
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(16, 2))

def example_inputs(batch):
    return torch.rand(batch, 1, 4, 4, 4)
"""
)


@pytest.mark.parametrize("data", ["digits", "csv:x.csv", "topics"])
@pytest.mark.parametrize(
    ("code", "takes"),
    [
        (PAIRS, r"2 inputs \(ids, mask\)"),
        (MANY, "11 inputs"),
        (VOLUMES, r"inputs of shape \(batch, 1, 4, 4, 4\), float32"),
    ],
)
def test_data_that_a_module_does_not_take_are_refused(write, tmp_path, code, takes, data):
    with pytest.raises(ConfigError, match=f"takes {takes}.*no data= gives"):
        run(tmp_path / "run", model=write(code), data=data)


TABLES = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, inputs: int = 2):
        super().__init__(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, 2))
"""


def test_a_module_learns_from_columns(write, tmp_path):
    """The width of the first layer says that it takes no pixels."""
    rows = np.random.default_rng(0).normal(size=(200, 2))
    lines = [f"{a},{b},{'right' if a > 0 else 'left'}" for a, b in rows]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,side", *lines]))
    data = {"name": f"csv:{tmp_path / 'rows.csv'}", "label": "side"}
    run(tmp_path / "run", model=write(TABLES), data=data, batch=20, epochs=20, lr=0.05)
    outputs = hal.predict(tmp_path / "run", np.array([[-2.0, 0.0], [2.0, 0.0]], np.float32), backend="cpu")
    assert outputs.argmax(axis=1).tolist() == [0, 1]
    with pytest.raises(ConfigError, match="has 2 columns of numbers, but the model takes 3"):
        run(tmp_path / "other", model={"name": write(TABLES), "inputs": 3}, data=data)
    with pytest.raises(ConfigError, match=r"takes image data(?s:.*)or add example_inputs\(batch\)"):
        run(tmp_path / "other", model={"name": write(TABLES), "inputs": 64}, data=data)


def test_example_inputs_need_as_many_samples_as_asked(write, tmp_path):
    with pytest.raises(DataError, match="first axis is 3"):
        run(tmp_path / "run", model=write(PAIRS.replace("(batch, 5)", "(3, 5)").replace("ones(batch", "ones(3")))
