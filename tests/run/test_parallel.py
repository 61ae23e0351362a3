"""Runs spread over devices and processes end as the run on one device does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from run_helpers import CNN, pairs

# Batch statistics, dropout and a last evaluation batch that does not divide are in it.
MODEL = Path(__file__).with_name("normalised.py")
KEYS = {
    **CNN,
    "backend": "jax",
    "model": {"name": f"{MODEL}:Normalised"},
    "data": {"name": "synthetic:92"},
    "epochs": 2,
}
del KEYS["threads"]


def start(out, env=None, **keys):
    words = pairs({**KEYS, **keys, "out": str(out)})
    return subprocess.Popen(
        [sys.executable, "-m", "hal", "run", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return stdout


def numbers(record):
    return [
        [epoch["train"]["loss"], epoch["validation"]["loss"], epoch["validation"]["accuracy"]]
        for epoch in record["epochs"]
    ]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return json.loads(finish(start(tmp_path_factory.mktemp("single") / "run")))


@pytest.mark.parametrize("by", ["key", "file"])
def test_devices_of_one_process(single, tmp_path, by):
    (tmp_path / "plan.yaml").write_text("parallel: dp=2\n")
    keys = {"parallel": "dp=2"} if by == "key" else {"plan": str(tmp_path / "plan.yaml")}
    spread = json.loads(finish(start(tmp_path / "run", **keys)))
    assert spread["plan"]["parallel"] == "dp=2"
    for mine, wanted in zip(numbers(spread), numbers(single), strict=True):
        assert mine == pytest.approx(wanted, rel=1e-5)


def test_processes_on_loopback(single, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    both = [start(tmp_path / "run", {**shared, "RANK": str(rank)}, parallel="dp=2") for rank in (0, 1)]
    first, second = (finish(process) for process in both)
    assert second == ""
    for mine, wanted in zip(numbers(json.loads(first)), numbers(single), strict=True):
        assert mine == pytest.approx(wanted, rel=1e-5)
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "done"
