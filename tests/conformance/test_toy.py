"""A backend from outside: the package in tests/toy_backend is installed, found, tested and trained.

So is one without gradients: it is measured and predicts, and is refused where it would have to train.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "toy_backend"

TRAIN = """
import json
import numpy as np
from hal import ops, registry

assert "toy" in registry.names()
device = registry.device("toy")
backend = registry.require("toy")
rng = np.random.default_rng(0)
images = rng.standard_normal((32, 6, 6, 1)).astype(np.float32)
labels = (images.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
params = {
    "kernel": rng.standard_normal((3, 3, 1, 4)).astype(np.float32) / 3,
    "head": {"kernel": np.zeros((4, 2), np.float32), "bias": np.zeros(2, np.float32)},
}

def loss(params, x, y):
    hidden = ops.relu(ops.conv2d(x, params["kernel"], strides=2))
    logits = ops.linear(ops.mean(hidden, axis=(1, 2)), params["head"]["kernel"], params["head"]["bias"])
    return ops.mean(ops.cross_entropy(logits, y)), {"logits": logits}

differentiate = backend.value_and_grad(loss)
optimizer = backend.optimizer("adamw", {})
state, losses = optimizer.init(params), []
for _ in range(30):
    (value, _), gradients = differentiate(params, images, labels)
    params, state = optimizer.update(gradients, state, params, 0.05)
    losses.append(float(value))
print(json.dumps({"device": str(device), "losses": losses}))
"""


READER = """
import dataclasses

from hal.contract import Backend
from hal_toy import ToyBackend


class ReaderBackend(ToyBackend):
    name = "reader"
    value_and_grad = Backend.value_and_grad

    def devices(self):
        (toy,) = super().devices()
        can = dataclasses.replace(toy.capabilities, trains=False)
        return [dataclasses.replace(toy, backend="reader", capabilities=can)]
"""
SUITE = """
import pytest

from hal.testing import BackendConformance


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
class TestReader(BackendConformance):
    backend_name = "reader"
    cannot = {"test_ids_outside_the_table": "NumPy takes -1 for the last row"}
"""
PREDICT = """
import sys

import numpy as np
import hal

images = np.random.default_rng(0).random((4, 20, 20, 1), np.float32)
ours, theirs = (hal.predict(sys.argv[1], images, backend=name) for name in ("reader", "cpu"))
print(ours.shape, float(np.abs(ours - theirs).max()))
"""
CNN = "model=cnn model.filters=[4,4,4] model.dense=8 model.size=20 data=synthetic:80 batch=16".split()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables under which hal-toy is installed: built by pip from its own pyproject, without network."""
    for module in ("autograd", "hatchling"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    site = tmp_path_factory.mktemp("toy")
    install = "pip install --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check".split()
    _run([*install, "--target", str(site), str(PACKAGE)], dict(os.environ))
    (site / "hal_reader.py").write_text(READER)
    about = site / "hal_reader-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hal-reader\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[hal.backends]\nreader = hal_reader:ReaderBackend\n")
    path = os.pathsep.join(part for part in (str(site), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path}


def _run(arguments: list[str], environment: dict[str, str], status: int = 0) -> str:
    """What ``python -m ...`` prints on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def test_found_and_trained(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "train_toy.py").write_text(TRAIN)
    search = os.pathsep.join((environment["PYTHONPATH"], str(tmp_path)))
    result = json.loads(_run(["train_toy"], {**environment, "PYTHONPATH": search}))
    assert result["device"] == "toy:0"
    assert result["losses"][-1] < 0.5 * result["losses"][0]


def test_passes_the_suite(environment: dict[str, str]) -> None:
    suite = PACKAGE / "suite_toy.py"
    output = _run(["pytest", str(suite), "-q", "-W", "error", "-p", "no:cacheprovider", "-n", "0"], environment)
    assert " passed" in output


def test_commands(environment: dict[str, str], tmp_path: Path) -> None:
    """The first thing that a run does with the backend is to place arrays on it."""
    assert "toy:0" in _run(["hal", "devices"], environment)
    record = json.loads(
        _run(["hal", "run", *CNN, "backend=toy", "steps=2", f"out={tmp_path / 'run'}", "--json"], environment)
    )
    assert (record["status"], record["device"]["backend"]) == ("done", "toy")
    found = json.loads(_run(["hal", "bench", *CNN, "backend=toy", "seconds=0.1", "--json"], environment))
    assert found["measurement"]["throughput"]["median"] > 0


def test_copied_as_its_readme_says(environment: dict[str, str], tmp_path: Path) -> None:
    """The commands of its first step, and what the second and third come to."""
    text = (PACKAGE / "README.md").read_text()
    steps = text[text.index("1. Copy the folder") : text.index("`pyproject.toml` then contains")]
    commands = [line.strip() for line in steps.splitlines() if line.startswith("       ")]
    assert len(commands) == 3
    script = (
        "\n".join(commands).replace("tests/toy_backend", str(PACKAGE)).replace("~/hal-mine", str(tmp_path / "copy"))
    )
    subprocess.run(["bash", "-ec", script], check=True)
    site, source = tmp_path / "site", tmp_path / "copy"
    install = "pip install --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check".split()
    _run([*install, "--target", str(site), str(source)], environment)
    path = os.pathsep.join((str(site), environment["PYTHONPATH"]))
    seen = json.loads(_run(["hal", "devices", "--json"], {**environment, "PYTHONPATH": path}))
    assert "mine:0" in json.dumps(seen)


class TestInferenceOnly:
    """A backend that does not differentiate."""

    def test_training_is_refused(self, environment: dict[str, str], tmp_path: Path) -> None:
        out = tmp_path / "run"
        for command in (["run", "steps=2", f"out={out}"], ["bench"]):
            told = json.loads(_run(["hal", *command, *CNN, "backend=reader", "--json"], environment, status=2))
            assert told["error"]["type"] == "UnsupportedError"
            assert "reader:0 can run trained models but not train them" in told["error"]["message"]
            assert "hal bench mode=infer" in told["error"]["fix"]
        assert not out.exists()

    def test_inference_is_measured(self, environment: dict[str, str]) -> None:
        command = ["hal", "bench", *CNN, "backend=reader", "mode=infer", "seconds=0.1", "--json"]
        assert json.loads(_run(command, environment))["measurement"]["throughput"]["median"] > 0

    def test_predicts_what_another_trained(self, environment: dict[str, str], tmp_path: Path) -> None:
        _run(["hal", "run", *CNN, "backend=cpu", "compile=eager", "steps=2", f"out={tmp_path / 'run'}"], environment)
        (tmp_path / "predict_reader.py").write_text(PREDICT)
        search = os.pathsep.join((environment["PYTHONPATH"], str(tmp_path)))
        told = _run(["predict_reader", str(tmp_path / "run")], {**environment, "PYTHONPATH": search})
        shape, _, difference = told.strip().rpartition(" ")
        assert shape == "(4, 10)"
        assert float(difference) < 1e-5

    def test_passes_the_suite(self, environment: dict[str, str], tmp_path: Path) -> None:
        suite = tmp_path / "suite_reader.py"
        suite.write_text(SUITE)
        options = "-q -rs -W error -p no:cacheprovider -n 0 -o markers=slow".split()
        output = _run(["pytest", str(suite), *options], environment)
        assert " passed" in output
        assert "reader:0 only infers" in output


def test_the_docs_say_how_long_it_is() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in (PACKAGE / "hal_toy").glob("*.py"))
    for page in (PACKAGE / "README.md", PACKAGE.parents[1] / "CONTRIBUTING.md"):
        assert f"about {round(lines, -1)} lines" in page.read_text()
