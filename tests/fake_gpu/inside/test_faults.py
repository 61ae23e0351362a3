"""A card that is too small, and one that is lost."""

import json
from itertools import groupby
from pathlib import Path

import fake_card
import pytest
from run_helpers import command, pairs
from small_models import MODELS

MODEL = f"{Path(__file__).with_name('losing_model.py')}:Losing"


@pytest.fixture
def losing(monkeypatch, tmp_path, device):
    """Keys of the model, and the file that it writes."""
    monkeypatch.setenv("LOSING", str(tmp_path / "computed"))
    keys = {"model": MODEL, "backend": device.backend, "data": "synthetic:64", "out": tmp_path / "out"}
    return keys, tmp_path / "computed"


@pytest.mark.parametrize("name", MODELS)
def test_out_of_memory(name, device, tmp_path):
    """Exit status 4, with PyTorch's words and with advice."""
    fake_card.configure(fake_card.wanted().count, 8 << 10)
    done = command("run", *pairs({**MODELS[name], "backend": device.backend, "steps": 2, "out": tmp_path / "run"}))
    assert done.exit_code == 4, done.stderr
    assert "ran out of memory: CUDA out of memory" in done.stderr
    assert "batch=" in done.stderr


def test_the_tuner_replaces_a_worker_that_lost_its_card(losing):
    keys, computed = losing
    small = ["trials=2", "finalists=1", "seconds=0.05", "batch=16", "layout=nchw", "compile=eager", "parallel=none"]
    done = command("tune", *pairs(keys), *small, "space.precision=[fp32,bf16]", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [trial["outcome"] for trial in found["trials"]] == ["ok", "failed"]
    assert "illegal memory access" in found["trials"][1]["message"]
    assert found["winner"]["precision"] == "fp32"
    lines = [line.split() for line in computed.read_text().splitlines()]
    workers = [(pid, [precision for _, precision in those]) for pid, those in groupby(lines, key=lambda line: line[0])]
    lost = [position for position, (_, precisions) in enumerate(workers) if "low" in precisions]
    assert len(lost) == 1
    assert workers[lost[0]][1][-1] == "low", "a worker computes nothing more on a card that it lost"
    assert lost[0] < len(workers) - 1, "another one goes on"


def test_a_lost_card_ends_the_run(losing):
    """Exit status 1."""
    keys, _ = losing
    done = command("run", *pairs(keys), "precision=bf16", "steps=2")
    assert done.exit_code == 1, done.stderr
    assert "illegal memory access" in done.stderr
