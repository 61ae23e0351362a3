"""Runs that move between the OpenCL backend and others."""

import importlib.util

import numpy as np
import pytest

import hal
from hal.run.checkpoint import latest, load

KEYS = {
    "model": {"name": "mlp", "hidden": [8]},
    "data": {"name": "synthetic:80"},
    "batch": 16,
    "schedule": "constant",
    "lr": 3e-3,
}


def flat(tree, prefix=""):
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
@pytest.mark.usefixtures("backend")
def test_a_run_moves_between_backends(tmp_path):
    """Three runtimes take turns, in each order of two, and the run ends where one of them alone would have ended it."""
    turns = ("opencl", "cpu", "opencl", "jax", "opencl")
    hal.train(**KEYS, epochs=len(turns), backend="cpu", out=str(tmp_path / "alone"))
    hal.train(**KEYS, epochs=1, backend=turns[0], out=str(tmp_path / "turns"))
    for epochs, backend in enumerate(turns[1:], start=2):
        device = "jax:cpu" if backend == "jax" else None
        hal.train(resume=str(tmp_path / "turns"), epochs=epochs, backend=backend, device=device)
    wanted, found = load(latest(tmp_path / "alone")), load(latest(tmp_path / "turns"))
    assert found.step == wanted.step
    arrays = flat(found.carry)
    for key, array in flat(wanted.carry).items():
        np.testing.assert_allclose(arrays[key], array, rtol=2e-3, atol=2e-4, err_msg=key)
