"""``hal.load``: a trained model as an object, and what it takes."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_helpers import CNN, RNN_CLASSIFY, command, train

import hal
from hal.errors import CheckpointError, ConfigError, InputError, NotFoundError
from hal.run.checkpoint import latest

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))
"""

OWN_DATA = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)

def data():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 0).long())
"""


@pytest.fixture
def images(pictures):
    files = sorted((pictures / "val" / "dots").glob("*.png"))
    return files, np.stack([np.asarray(Image.open(file)) for file in files])


def test_what_it_says_of_itself(trained_cnn):
    trained = hal.load(trained_cnn)
    assert trained.class_names == ("bars", "blank", "dots")
    assert (trained.kind, trained.input_shape) == ("image", (16, 16, 1))
    assert (trained.writes, trained.draws) == (False, False)
    assert "the last checkpoint" in trained.describe()
    assert "that was named" in hal.load(latest(Path(trained_cnn))).describe()


def test_the_same_inputs_in_every_form(trained_cnn, images):
    files, values = images
    trained = hal.load(trained_cnn, batch=3)
    wanted = trained(values)
    floats = values / np.float32(255)
    for form in (
        values[..., None].astype(np.int64),
        floats,
        floats.astype(np.float64)[..., None],
        floats.tolist(),
        torch.from_numpy(floats).requires_grad_(),
        np.repeat(floats[..., None], 3, axis=3),
    ):
        np.testing.assert_allclose(trained(form), wanted, atol=1e-4)
    half = trained(torch.from_numpy(floats).bfloat16())
    np.testing.assert_allclose(half, wanted, atol=0.1)
    found = trained.predict(values, top=2)
    assert [each.label for each in found] == [trained.class_names[row.argmax()] for row in wanted]
    assert all(len(each.top) == 2 for each in found)
    paths = trained.predict([str(file) for file in files])
    assert [each.label for each in paths] == [each.label for each in found]
    assert trained.predict(Path(files[0]))[0].input == str(files[0])


def test_arrays_of_jax(trained_cnn, images):
    jax = pytest.importorskip("jax")
    trained = hal.load(trained_cnn)
    floats = images[1] / np.float32(255)
    np.testing.assert_allclose(trained(jax.numpy.asarray(floats)), trained(floats), atol=1e-6)


@pytest.mark.slow
def test_another_backend_says_the_same(trained_cnn, images):
    pytest.importorskip("jax")
    values = images[1]
    np.testing.assert_allclose(hal.load(trained_cnn, backend="jax")(values), hal.load(trained_cnn)(values), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.astype(np.float32), "but the model was trained on images in"),
        (lambda x: x / 127.5 - 1, "range from -1"),
        (lambda x: (x > 100).astype(np.int32), "all of them 0 or 1"),
        (lambda x: x[0], "keep the batch axis"),
        (lambda x: [["a"]], "pass images as"),
    ],
)
def test_what_contradicts_the_training_is_an_error(trained_cnn, images, change, said):
    with pytest.raises(InputError) as caught:
        hal.load(trained_cnn)(change(images[1]))
    assert said in f"{caught.value.message} {caught.value.fix}"


def test_sequences_on_another_scale(tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=random.standard_normal((40, 8, 8)) * 5, y=np.arange(40) % 2)
    train(tmp_path / "run", base={**RNN_CLASSIFY, "data": f"npz:{tmp_path / 'x.npz'}"}, steps=1)
    trained = hal.load(tmp_path / "run")
    assert trained(random.standard_normal((2, 8, 8)) * 5).shape == (2, 2)
    with pytest.raises(InputError, match="trained on numbers from"):
        trained(random.standard_normal((2, 8, 8)) * 500)
    with pytest.raises(InputError, match="are integers"):
        trained(np.ones((2, 8, 8), np.uint8))
    with pytest.raises(ConfigError, match="which are no pixels"):
        trained.predict(_picture(tmp_path))


def _picture(folder):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "picture.png")
    return folder / "picture.png"


def test_sequences_of_pictures_read_pictures(tmp_path):
    train(tmp_path / "run", base={**RNN_CLASSIFY, "data": "digits"}, steps=1)
    assert len(hal.load(tmp_path / "run").predict(_picture(tmp_path))[0].top) == 3


def test_neither_the_data_nor_a_tuned_plan_is_needed(tmp_path):
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "x.npz", x=np.random.default_rng(0).random((40, 20, 20, 1)), y=np.arange(40) % 4)
    train(tmp_path / "run", base={**CNN, "data": f"npz:{tmp_path / 'data' / 'x.npz'}"}, steps=1)
    shutil.rmtree(tmp_path / "data")
    trained = hal.load(tmp_path / "run")
    assert trained(np.zeros((3, 40, 30), np.uint8)).shape == (3, 4)


def test_modules_of_a_user(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    name = f"{tmp_path / 'net.py'}:Net"
    hal.train(model=name, backend="cpu", threads=1, steps=2, batch=8, out=str(tmp_path / "run"))
    trained = hal.load(tmp_path / "run")
    found = trained.predict(_picture(tmp_path))[0]
    assert found.label in trained.class_names
    assert sum(score.probability for score in trained.predict(_picture(tmp_path), top=10)[0].top) == pytest.approx(1)


def test_modules_with_data_of_their_own(tmp_path):
    (tmp_path / "own.py").write_text(OWN_DATA)
    hal.train(model=f"{tmp_path / 'own.py'}:Net", backend="cpu", threads=1, steps=2, batch=8, out=str(tmp_path / "run"))
    trained = hal.load(tmp_path / "run")
    assert trained.kind is None
    assert len(trained.predict(np.zeros((2, 4), np.float32))[0].top) == 3
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    assert command("predict", tmp_path / "run", tmp_path / "x.npy").exit_code == 0
    with pytest.raises(InputError, match="trained on numbers from"):
        trained(np.full((2, 4), 200.0, np.float32))
    refused = command("predict", tmp_path / "run", _picture(tmp_path))
    assert refused.exit_code == 2
    assert "hal does not know how a file becomes its inputs" in " ".join(refused.stderr.split())


def test_only_code_that_the_user_named_is_run(tmp_path, monkeypatch):
    """A folder that somebody else wrote names a file: it is run only when the user names it, and no other one is."""
    (tmp_path / "net.py").write_text(NET)
    hal.train(model=f"{tmp_path / 'net.py'}:Net", backend="cpu", threads=1, steps=1, batch=8, out=str(tmp_path / "run"))
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "another-user"))
    marker = tmp_path / "ran"
    (tmp_path / "net.py").write_text(f"open({str(marker)!r}, 'w')\n{NET}")
    (tmp_path / "mine.py").write_text(NET)
    for words in (["predict", tmp_path / "run", "-"], ["export", tmp_path / "run", "--to", "safetensors"]):
        refused = command(*words)
        assert refused.exit_code == 1
        assert "a file that would be run" in " ".join(refused.stderr.split())
    with pytest.raises(CheckpointError, match="a file that would be run"):
        hal.load(tmp_path / "run")
    assert not marker.exists()
    trained = hal.load(tmp_path / "run", model=f"{tmp_path / 'mine.py'}:Net")
    assert trained(np.zeros((1, 8, 8), np.uint8)).shape == (1, 10)
    with pytest.raises(CheckpointError, match="is of another model"):
        hal.load(tmp_path / "run", model="cnn")
    assert not marker.exists()


def test_runs_that_cannot_be_used(tmp_path, trained_cnn):
    with pytest.raises(NotFoundError, match="does not exist"):
        hal.load(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="the run kept step-"):
        hal.load(trained_cnn / "checkpoints" / "step-000000001")
    (tmp_path / "begun").mkdir()
    shutil.copy(trained_cnn / "record.json", tmp_path / "begun")
    with pytest.raises(NotFoundError, match="has no checkpoint yet"):
        hal.load(tmp_path / "begun")
    shutil.copytree(trained_cnn, tmp_path / "damaged")
    for file in (tmp_path / "damaged").rglob("arrays.safetensors"):
        file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated or was changed"):
        hal.load(tmp_path / "damaged")
    with pytest.raises(ConfigError, match="does not write text"):
        hal.load(trained_cnn).write("a")
    with pytest.raises(ConfigError, match="makes no samples"):
        hal.load(trained_cnn).samples(1)


def test_what_a_checkpoint_keeps_of_its_inputs(trained_cnn, trained_text, tmp_path):
    def facts(run):
        return json.loads((latest(Path(run)) / "checkpoint.json").read_text())["setup"]["data"]

    assert facts(trained_cnn)["class_names"] == ["bars", "blank", "dots"]
    assert facts(trained_cnn)["value_range"] is None
    assert set(facts(trained_text)["vocabulary"]) == set("the cat sat on the mat. ")
    train(tmp_path / "run", base=RNN_CLASSIFY, steps=1)
    low, high = facts(tmp_path / "run")["value_range"]
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(("threads", "ahead"), [(None, False), (4, False), (1, True)])
def test_files_are_read_ahead_unless_the_model_computes_on_the_same_cores(
    trained_cnn, pictures, monkeypatch, threads, ahead
):
    from hal.after import predicting
    from hal.after.inputs import files_of

    trained = hal.load(trained_cnn)
    device = dataclasses.replace(trained.job.device, compute_units=4)
    plan = trained.job.plan.model_copy(update={"threads": threads})
    monkeypatch.setattr(trained, "job", dataclasses.replace(trained.job, device=device, plan=plan))
    used = []
    real = predicting.read_ahead
    monkeypatch.setattr(predicting, "read_ahead", lambda *given: (used.append(given), real(*given))[1])
    found = files_of([str(pictures / "val" / "dots")], trained)
    assert predicting.predict_inputs(trained, found, 1, lambda rows: None).done == 8
    assert bool(used) == ahead
