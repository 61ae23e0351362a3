"""A backend from outside: the package in tests/toy_backend is installed, found, tested and trained."""

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


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables under which hal-toy is installed: built by pip from its own pyproject, without network."""
    for module in ("autograd", "hatchling"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    site = tmp_path_factory.mktemp("toy")
    install = "pip install --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check".split()
    _run([*install, "--target", str(site), str(PACKAGE)], dict(os.environ))
    path = os.pathsep.join(part for part in (str(site), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path}


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
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
