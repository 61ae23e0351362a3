"""The commands on a machine of two cards; what runs on the second one leaves the first alone."""

import json

import fake_card
import pytest
from run_helpers import command, pairs
from small_models import MODELS


def allocations():
    return fake_card.counters(2)["allocations"]


def hal(*words):
    done = command(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("keys", MODELS.values(), ids=MODELS)
def test_run_bench_and_verify(keys, device, tmp_path):
    here = {**keys, "backend": device.backend, "device": 1}
    before = allocations()
    record = hal("run", *pairs({**here, "steps": 2, "out": tmp_path / "run"}))
    assert record["device"]["index"] == 1
    measured = hal("bench", *pairs(here), "seconds=0.1")
    assert measured["measurement"]["peak_memory_bytes"] > 0
    after = allocations()
    assert after[0] == before[0]
    assert after[1] > before[1]
    assert hal("verify", *pairs(keys), f"backends=cpu,{device.backend}", "steps=1")["agrees"]


@pytest.mark.parametrize("name", ["gan", "transfer"])
def test_one_device_and_two(name, device, tmp_path):
    """They end at the same loss: two optimizers with batch statistics, and parameters that are not trained."""
    found = {}
    for parallel in ("none", "dp=2", "fsdp=2"):
        run = {**MODELS[name], "backend": device.backend, "parallel": parallel, "steps": 4, "out": tmp_path / parallel}
        record = hal("run", *pairs(run))
        assert record["plan"]["parallel"] == parallel
        found[parallel] = record["epochs"][-1]["train"]
    assert found["dp=2"] == pytest.approx(found["none"], rel=1e-5)
    assert found["fsdp=2"] == pytest.approx(found["none"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("cnn", ["space.launch=[kernels,graph]", "precision=fp32"]),
        ("gan", ["space.precision=[fp32,bf16]", "launch=kernels"]),
    ],
)
def test_tune(name, more, device, tmp_path):
    """Graphs, whose augmentation draws other numbers, are judged by how much that alone changes."""
    here = {**MODELS[name], "backend": device.backend, "layout": "nhwc", "compile": "eager", "parallel": "none"}
    small = ["trials=2", "finalists=1", "seconds=0.05", "budget=60", "conv=direct", *more]
    found = hal("tune", *pairs(here), f"out={tmp_path / 'tune'}", *small)
    assert found["winner"] is not None
    assert [trial["outcome"] for trial in found["trials"]] == ["ok", "ok"]
