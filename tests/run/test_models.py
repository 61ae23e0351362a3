"""Each model learns, says what it should, and a model of one's own is run as the built-in ones are."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_helpers import CNN, command, train

import hal
from hal import nn
from hal.models.gan import frechet_distance
from hal.run import Record
from hal.tensor import OPS

RNN = {"backend": "cpu", "threads": 1, "schedule": "constant", "seed": 0}
TEXT = "she sells sea shells by the sea shore; " * 60


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT)
    return path


def losses(record, name="loss"):
    return [epoch.train[name] for epoch in record.epochs]


# Learning


def test_the_cnn_learns_digits(tmp_path):
    record = train(
        tmp_path / "run",
        base={
            **CNN,
            "model": {"name": "cnn", "filters": [8, 8, 16], "dense": 32, "size": 20},
            "data": {"name": "digits", "augment": "none"},
            "batch": 32,
        },
        lr=1e-2,
        epochs=3,
    )
    assert losses(record)[-1] < 0.5 * losses(record)[0]
    assert record.results["accuracy"] > 0.7
    assert record.metric == "accuracy"
    assert record.best == max(epoch.validation["accuracy"] for epoch in record.epochs)
    assert record.workload.input_shape == (20, 20, 1)


@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_the_rnn_learns_text(cell, book, tmp_path):
    model = {"name": "rnn", "cell": cell, "units": 16, "embedding": 8, "length": 16, "sample": 8}
    record = train(
        tmp_path / "run", base={**RNN, "model": model, "data": {"name": f"text:{book}"}, "batch": 8}, lr=2e-2, epochs=4
    )
    assert losses(record)[-1] < 0.7 * losses(record)[0]
    assert record.metric == "loss"
    assert record.best == min(epoch.validation["loss"] for epoch in record.epochs)
    assert 0 < record.results["bigram_entropy"] < math.log(len(set(TEXT)))


def test_the_mlp_learns_digits(tmp_path):
    base = {**CNN, "model": {"name": "mlp", "hidden": [16], "dropout": 0.1}, "data": {"name": "digits"}, "batch": 32}
    record = train(tmp_path / "run", base=base, lr=1e-2, epochs=3)
    assert losses(record)[-1] < 0.5 * losses(record)[0]
    assert record.results["accuracy"] > 0.8


@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_the_rnn_learns_classes(cell, tmp_path):
    model = {"name": "rnn", "cell": cell, "task": "classify", "units": 24, "dropout": 0.1}
    record = train(
        tmp_path / "run", base={**RNN, "model": model, "data": {"name": "digits"}, "batch": 32}, lr=1e-2, epochs=2
    )
    assert losses(record)[-1] < 0.7 * losses(record)[0]
    assert record.results["accuracy"] > 0.4
    assert record.text == ""
    assert record.files == ()


@pytest.mark.parametrize("positions", ["rotary", "learned", "sinusoidal"])
def test_the_transformer_learns_text(positions, book, tmp_path):
    model = {"name": "transformer", "layers": 1, "width": 16, "heads": 2, "positions": positions, "length": 16}
    record = train(
        tmp_path / "run",
        base={**RNN, "model": {**model, "sample": 8}, "data": {"name": f"text:{book}"}, "batch": 8},
        lr=1e-2,
        epochs=3,
    )
    assert losses(record)[-1] < 0.7 * losses(record)[0]
    assert record.metric == "loss"
    assert len((tmp_path / "run" / "sample.txt").read_text()) == 16 + 8
    assert 0 < record.results["bigram_entropy"] < math.log(len(set(TEXT)))


@pytest.mark.parametrize(("inputs", "pooling"), [("tokens", "mean"), ("tokens", "max"), ("features", "first")])
def test_the_transformer_learns_classes(inputs, pooling, tmp_path):
    model = {"name": "transformer", "task": "classify", "inputs": inputs, "pooling": pooling, "layers": 1, "width": 16}
    data = "digits"
    if inputs == "tokens":
        for name, word in (("sea", "shells"), ("land", "hills")):
            (tmp_path / "data" / name).mkdir(parents=True)
            for index in range(40):
                (tmp_path / "data" / name / f"{index}.txt").write_text(f"{'she sells ' * (index % 3)}{word} {index}")
        data, model["length"] = f"texts:{tmp_path / 'data'}", 32
    record = train(
        tmp_path / "run", base={**RNN, "model": model, "data": {"name": data}, "batch": 16}, lr=1e-2, epochs=3
    )
    assert losses(record)[-1] < 0.7 * losses(record)[0]
    assert record.results["accuracy"] > (0.9 if inputs == "tokens" else 0.4)
    if inputs == "tokens":
        logits = hal.predict(tmp_path / "run", ["shells", "hills"])
        assert logits.argmax(-1).tolist() == [1, 0], "the classes are land and sea"


def test_the_gan_learns_to_tell_and_to_draw(tmp_path):
    model = {"name": "gan", "size": 20, "width": 8, "noise": 8, "grid": 3}
    record = train(
        tmp_path / "run",
        base={**RNN, "model": model, "data": {"name": "synthetic:120"}, "batch": 16, "lr": 2e-3},
        epochs=3,
    )
    told = losses(record, "discriminator_loss")
    assert told[-1] < told[0], "the discriminator learns"
    assert record.metric == "frechet_distance"
    distances = [epoch.validation["frechet_distance"] for epoch in record.epochs]
    assert record.best == min(distances)
    assert all(math.isfinite(distance) and distance >= 0 for distance in distances)
    assert [Path(path).name for path in record.files] == ["samples-0001.png", "samples-0002.png", "samples-0003.png"]
    for path in record.files:
        with Image.open(path) as picture:
            assert picture.size == (60, 60)
            assert picture.mode == "L"
            assert np.asarray(picture).std() > 0


def test_the_gan_draws_in_colour_without_classes_too(tmp_path):
    folder = tmp_path / "data.npz"
    np.savez(folder, x=np.random.default_rng(0).integers(0, 256, (40, 20, 20, 3), np.uint8))
    model = {"name": "gan", "size": 20, "width": 4, "noise": 4, "grid": 2, "channels": 3}
    record = train(
        tmp_path / "run", base={**RNN, "model": model, "data": {"name": f"npz:{folder}"}, "batch": 8}, steps=1
    )
    assert "frechet_distance" not in record.results
    with Image.open(record.files[0]) as picture:
        assert (picture.size, picture.mode) == ((40, 40), "RGB")


# The sample of text


def test_a_sample_depends_on_the_seed(book, tmp_path):
    def sampled(name, **keys):
        model = {"name": "rnn", "units": 8, "embedding": 4, "length": 16, "sample": 40, "temperature": 1.0}
        base = {**RNN, "model": model, "data": {"name": f"text:{book}"}, "batch": 8, "steps": 2}
        record = train(tmp_path / name, base={**base, **keys})
        text = (tmp_path / name / "sample.txt").read_text()
        assert record.files == (str(tmp_path / name / "sample.txt"),)
        assert len(text) == 16 + 40
        assert text[:16] in TEXT, "it begins with a piece of the text"
        assert record.text == f"prompt: {text[:16]!r}\n{text[16:]}"
        return text

    first = sampled("first")
    assert sampled("second") == first
    assert sampled("third", seed=1) != first


# The Fréchet distance


def test_the_distance_of_diagonal_gaussians():
    """Between N(m, diag a²) and N(n, diag b²) it is |m - n|² + sum of (a - b)²; samples with exactly those moments."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((200, 3))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(3), atol=1e-12)
    first = white * [1, 2, 3] + [0, 1, 2]
    second = white[::-1] * [2, 2, 1] + [1, 1, 0]
    assert frechet_distance(first, second) == pytest.approx((1 + 0 + 4) + (1 + 0 + 4))
    assert frechet_distance(second, first) == pytest.approx(10)


def test_the_distance_of_gaussians_that_do_not_commute():
    """trace(A + B - 2 (A B)^(1/2)) by hand: A = diag(1, 4), and B = diag(4, 1) turned by 45 degrees."""
    rng = np.random.default_rng(1)
    white = rng.standard_normal((300, 2))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    first = white @ np.diag([1.0, 2.0])
    second = white @ np.linalg.cholesky(np.array([[2.5, 1.5], [1.5, 2.5]])).T
    # The product has the trace 2.5 + 4 * 2.5 = 12.5 and the determinant 4 * 4 = 16: its root has the trace
    # sqrt(12.5 + 2 * sqrt(16)).
    assert frechet_distance(first, second) == pytest.approx(5 + 5 - 2 * math.sqrt(12.5 + 8))


def test_the_distance_of_equal_sets_is_zero():
    x = np.random.default_rng(2).standard_normal((50, 6)).astype(np.float32)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 1) == pytest.approx(6, rel=1e-5)
    dead = np.concatenate([x, np.zeros((50, 2), np.float32)], 1)  # features that never fire have no variance
    assert frechet_distance(dead, dead) == pytest.approx(0, abs=1e-9)


# A model of one's own

MLP = '''
"""A perceptron with two layers, from the neutral API alone."""

from typing import ClassVar

from pydantic import Field

from hal import nn, ops
from hal.data import Wanted


class Keys(nn.ModelConfig):
    """Keys."""

    units: int = Field(32, ge=1, description="units of the hidden layer")


class MLP(nn.Model):
    """Flatten, dense, dropout, dense."""

    Config = Keys
    defaults: ClassVar = nn.Defaults(epochs=2, lr=5e-3, batch=32, optimizer="adam")
    metric: ClassVar = ("accuracy", "max")

    def __init__(self, config, data):
        super().__init__(config, data)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Dense(config.units, activation="relu"), nn.Dropout(0.1), nn.Dense(data.classes)
        )

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (8, 8, 1))

    def params(self):
        return {"layers": self.layers.params(self.input_shape)}

    def objectives(self):
        return (nn.Objective("classify", self.loss),)

    def loss(self, params, state, batch, key):
        logits, _ = self.layers.apply(params["layers"], {}, batch["inputs"], training=True, key=key)
        right = ops.astype(ops.argmax(logits, axis=-1) == batch["labels"], logits.dtype)
        return ops.mean(ops.cross_entropy(logits, batch["labels"])), nn.LossOutput(state, {"right": ops.mean(right)})

    def predict(self, params, state, inputs):
        return self.layers.apply(params["layers"], {}, inputs)[0]

    def evaluate(self, params, state, batch):
        return {"accuracy": ops.argmax(self.predict(params, state, batch["inputs"]), axis=-1) == batch["labels"]}

    def run_end(self, view):
        inputs = view.split.validation.take(range(4))["inputs"]
        probabilities = view.call(lambda p, x: ops.softmax(self.predict(p, {}, x)), view.params, inputs)
        return nn.Report({"total": float(probabilities.sum())}, text="that was all")
'''


@pytest.fixture
def mlp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp.py").write_text(MLP)
    return tmp_path


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_of_ones_own(mlp, precision):
    words = [
        "run",
        "model=mlp.py:MLP",
        "model.units=24",
        "backend=cpu",
        "threads=1",
        f"precision={precision}",
        "out=run",
    ]
    result = command(*words)
    assert result.exit_code == 0, result.output
    assert "that was all" in result.stdout
    record = Record.model_validate_json(Path("run/record.json").read_text())
    assert record.workload.keys == {"units": 24}
    assert record.parameters == 64 * 24 + 24 + 24 * 10 + 10
    assert record.results["accuracy"] > 0.6
    assert record.results["total"] == pytest.approx(4, rel=2e-2)
    assert 0 < record.epochs[0].train["right"] < record.epochs[1].train["right"] <= 1
    again = command("run", "resume=run", "epochs=3")
    assert again.exit_code == 0, again.output


OWN_MODEL = Path(__file__).parents[2] / "docs" / "own-model.md"
EXAMPLES = [block.partition("```")[0] for block in OWN_MODEL.read_text().split("```python\n")[1:]]


def test_an_own_classifier_takes_twelve_lines():
    code = [line for line in EXAMPLES[0].splitlines() if line and not line.startswith("#")]
    assert "nn.Classifier" in EXAMPLES[0]
    assert len(code) <= 12


@pytest.mark.parametrize("example", EXAMPLES, ids=["classifier", "model"])
def test_examples_of_the_page_about_own_models(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(example)
    result = command("run", "model=own.py:MLP", "backend=cpu", "threads=1", "epochs=3", "out=run")
    assert result.exit_code == 0, result.output
    record = Record.model_validate_json(Path("run/record.json").read_text())
    assert record.parameters == 64 * 64 + 64 + 64 * 10 + 10
    assert record.results["accuracy"] > 0.6


def test_a_model_of_ones_own_without_a_folder_name(mlp):
    assert command("run", "model=mlp.py:MLP", "backend=cpu", "threads=1", "steps=1").exit_code == 0
    assert [path.name.split("-")[:2] for path in Path("runs").iterdir()] == [["mlp", "cpu"]]


def test_its_keys_are_checked(mlp):
    result = command("run", "model=mlp.py:MLP", "model.unit=3")
    assert result.exit_code == 2
    assert "unknown key model.unit; did you mean model.units?" in result.stderr


def test_a_model_of_ones_own_is_measured(mlp):
    result = command("bench", "model=mlp.py:MLP", "backend=cpu", "threads=1", "seconds=0.1", "data=synthetic:80")
    assert result.exit_code == 0, result.output


def test_the_page_about_own_models_lists_all_layers_and_ops():
    tables = OWN_MODEL.read_text().partition("## Layers and ops")[2]
    layers = {name for name in nn.__all__ if isinstance(part := getattr(nn, name), type) and issubclass(part, nn.Layer)}
    listed = set(re.findall(r"`(\w+)`", tables)) - {"matmul", "sum", "where"}
    assert listed == {*OPS, *layers} - {"Layer"}
