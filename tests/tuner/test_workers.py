"""Real workers on the processor, with a model that misbehaves in one precision or in two."""

import json
from pathlib import Path

import pytest

from hal.config import build
from hal.tuner import tune
from hal.tuner.config import TuneConfig
from hal.tuner.trial_result import Outcome

MODEL = f"{Path(__file__).parent / 'faulty_model.py'}:Faulty"


def tuned(monkeypatch, tmp_path, bf16, fp16=None, **keys):
    """A tuning of fp32 and bf16, and of fp16 if there is a fault for it."""
    monkeypatch.setenv("FAULTY", json.dumps({"torch.bfloat16": bf16, "torch.float16": fp16}))
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
        "space": {"precision": ["fp32", "bf16", "fp16"] if fp16 else ["fp32", "bf16"]},
        "seconds": 0.1,
        "limit": 30.0,
        "finalists": 1,
        "out": str(tmp_path / "out"),
        **keys,
    }
    return tune(build(TuneConfig, keys))


FOUND = {
    "segv": (Outcome.CRASH, "SIGSEGV in phase compile"),
    "137": (Outcome.OOM, "137"),
    "memory": (Outcome.OOM, "out of memory"),
    "python memory": (Outcome.OOM, "Memory"),
    "nan": (Outcome.NAN, ""),
    "diverges": (Outcome.DIVERGED, "cosine"),
    "raises": (Outcome.FAILED, "no luck"),
    "prints": (Outcome.OK, ""),
}


@pytest.mark.parametrize(
    "faults", [("segv", "memory"), ("nan", "python memory"), ("raises", "137"), ("diverges", "prints")], ids="-".join
)
def test_faults(monkeypatch, tmp_path, faults):
    """Two in one tuning; a lack of memory comes last, since no plan that needs as much is tried after it."""
    found = tuned(monkeypatch, tmp_path, *faults)
    first, *others = found.trials
    assert first.outcome is Outcome.OK
    assert first.guard.passed
    assert first.guard.loss_error == 0
    assert first.phases.compile_s > 0
    assert first.measurement.peak_memory_bytes > 0
    assert [trial.plan.precision for trial in others] == ["bf16", "fp16"]
    for trial, fault in zip(others, faults, strict=True):
        outcome, said = FOUND[fault]
        assert trial.outcome is outcome
        assert said in trial.message
    failed = {trial.plan.precision for trial in others if trial.outcome is not Outcome.OK}
    assert found.winner.precision not in failed


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
