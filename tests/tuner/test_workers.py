"""Real workers on the processor, with a model that misbehaves in one precision."""

import json
from pathlib import Path

import pytest

from hal.config import build
from hal.tuner import tune
from hal.tuner.config import TuneConfig
from hal.tuner.trial_result import Outcome

MODEL = f"{Path(__file__).parent / 'faulty_model.py'}:Faulty"


def tuned(monkeypatch, tmp_path, fault, **keys):
    monkeypatch.setenv("FAULTY", json.dumps({"low": fault}))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    keys = {
        "model": {"name": MODEL},
        "backend": "cpu",
        "data": {"name": "synthetic:256"},
        "batch": 16,
        "threads": 1,
        "parallel": "none",
        "layout": "nchw",
        "pool": "window",
        "compile": "eager",
        "space": {"precision": ["fp32", "bf16"]},
        "seconds": 0.1,
        "limit": 30.0,
        "finalists": 1,
        "out": str(tmp_path / "out"),
        **keys,
    }
    return tune(build(TuneConfig, keys))


@pytest.mark.parametrize(
    ("fault", "outcome", "said"),
    [
        ("segv", Outcome.CRASH, "SIGSEGV in phase compile"),
        ("137", Outcome.OOM, "137"),
        ("memory", Outcome.OOM, "out of memory"),
        ("python memory", Outcome.OOM, "Memory"),
        ("nan", Outcome.NAN, ""),
        ("diverges", Outcome.DIVERGED, "cosine"),
        ("raises", Outcome.FAILED, "no luck"),
        ("prints", Outcome.OK, ""),
    ],
)
def test_faults(monkeypatch, tmp_path, fault, outcome, said):
    found = tuned(monkeypatch, tmp_path, fault)
    assert [t.outcome for t in found.trials] == [Outcome.OK, outcome]
    assert said in found.trials[1].message
    if outcome is not Outcome.OK:
        assert found.winner.precision == "fp32"
    assert found.trials[0].guard.passed
    assert found.trials[0].guard.loss_error == 0
    assert found.trials[0].phases.compile_s > 0
    assert found.trials[0].measurement.peak_memory_bytes > 0


def test_a_hang_is_killed(monkeypatch, tmp_path):
    found = tuned(monkeypatch, tmp_path, "hang", limit=12.0)
    assert [t.outcome for t in found.trials] == [Outcome.OK, Outcome.TIMEOUT]


def test_a_memory_limit(monkeypatch, tmp_path):
    found = tuned(monkeypatch, tmp_path, "large", memory_limit=3 << 30)
    assert [t.outcome for t in found.trials] == [Outcome.OK, Outcome.OOM]


def test_inference(monkeypatch, tmp_path):
    found = tuned(monkeypatch, tmp_path, "diverges", mode="infer", objective="latency", batch=1)
    assert [t.outcome for t in found.trials] == [Outcome.OK, Outcome.DIVERGED]
    assert "outputs differ" in found.trials[1].message
    assert found.trials[0].measurement.latency.p50_ms.median > 0


def test_time_to_loss(monkeypatch, tmp_path):
    found = tuned(
        monkeypatch, tmp_path, "prints", objective="time_to_loss", data={"name": "digits"}, space={"batch": [16, 64]},
        batch=None, precision="fp32",
    )  # fmt: skip
    first, second = found.trials
    assert first.outcome is Outcome.OK
    assert first.samples_to_loss > 0
    assert first.values["time_to_loss"] == pytest.approx(first.samples_to_loss / first.measurement.throughput.median)
    assert second.plan.batch == 64
