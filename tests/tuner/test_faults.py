"""Each fault of a worker costs one trial, is named for what it is, and the tuner goes on."""

import pytest
from tuner_helpers import fake_tune, launched

from hal.tuner.trial_result import Outcome

ONE = {"batch": [32, 64, 128], "precision": ["fp32", "bf16"], "compile": ["eager"], "threads": [None]}


@pytest.mark.parametrize(
    ("fault", "outcome", "said"),
    [
        ("segv", Outcome.CRASH, "SIGSEGV"),
        ("exit", Outcome.CRASH, "status 3"),
        ("kill", Outcome.OOM, "memory"),
        ("137", Outcome.OOM, "137"),
        ("oom", Outcome.OOM, "as told"),
        ("hang", Outcome.TIMEOUT, "phase measure"),
        ("rubbish", Outcome.PROTOCOL, "loading weights"),
        ("half", Outcome.CRASH, "status 0"),
        ("strange", Outcome.PROTOCOL, "unknown or missing fields"),
        ("nan", Outcome.NAN, "as told"),
        ("compile", Outcome.COMPILE, "as told"),
        ("diverged", Outcome.DIVERGED, "as told"),
        ("unsupported", Outcome.UNSUPPORTED, "as told"),
        ("failed", Outcome.FAILED, "as told"),
    ],
)
def test_one_fault(monkeypatch, tmp_path, fault, outcome, said):
    limit = {"limit": 5.0} if fault == "hang" else {}
    found = fake_tune(monkeypatch, tmp_path, {"batch=128 precision=bf16": fault}, space=ONE, **limit)
    assert found.status == "done"
    bad = [t for t in found.trials if t.outcome is not Outcome.OK]
    assert [t.outcome for t in bad] == [outcome]
    assert said in bad[0].message
    assert found.failures == {outcome: (bad[0].number,)}
    assert found.searched.tried == len(found.trials) == 6 - found.searched.ruled_out
    assert (found.winner.batch, found.winner.precision) == (64, "bf16"), "the best of what worked"
    begun = launched(tmp_path)
    assert len(begun) == len(set(begun)) == len(found.trials)


def test_everything_at_once(monkeypatch, tmp_path):
    faults = {
        "batch=16": "segv",
        "batch=32": "rubbish",
        "batch=128 precision=bf16": "137",
        "batch=128 precision=fp32": "nan",
    }
    space = {**ONE, "batch": [16, 32, 64, 128]}
    found = fake_tune(monkeypatch, tmp_path, faults, space=space)
    assert {o: len(n) for o, n in found.failures.items()} == {
        Outcome.CRASH: 2,
        Outcome.PROTOCOL: 2,
        Outcome.OOM: 1,
        Outcome.NAN: 1,
    }
    assert (found.winner.batch, found.winner.precision) == (64, "bf16")


def test_nothing_works(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, {"parallel=none": "segv"}, space=ONE)
    assert found.winner is None
    assert found.finalists == ()
    assert len(found.failures[Outcome.CRASH]) == 6


def test_a_batch_too_large_rules_out_larger_ones(monkeypatch, tmp_path):
    space = {**ONE, "batch": [32, 64, 128, 256, 512, 1024], "precision": ["fp32"]}
    faults = {f"batch={n}": "oom" for n in (128, 256, 512, 1024)}
    found = fake_tune(monkeypatch, tmp_path, faults, space=space)
    failed = [t.plan.batch for t in found.trials if t.outcome is Outcome.OOM]
    assert failed == sorted(failed, reverse=True), "none larger than one that failed was launched"
    assert len(failed) + found.searched.ruled_out == 4
    assert found.winner.batch == 64


def test_fast_and_wrong_never_wins(monkeypatch, tmp_path):
    space = {**ONE, "precision": ["fp32", "fp16"]}
    found = fake_tune(monkeypatch, tmp_path, {"precision=fp16": "diverged"}, space=space)
    assert found.winner.precision == "fp32"
    assert all(t.outcome is Outcome.DIVERGED for t in found.trials if t.plan.precision == "fp16")
    assert all(found.trial(f.trial).plan.precision == "fp32" for f in found.finalists)
