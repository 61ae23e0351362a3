"""Plans that are remembered: what `plan=tuned` takes, what `hal plans` lists, exports and imports."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from tuner_helpers import description
from typer.testing import CliRunner

import hal
from hal.cli.app import app
from hal.config import JobConfig, build
from hal.errors import ConfigError, NotFoundError, UnavailableError
from hal.job.prepare import prepare
from hal.job.stored_plans import Fingerprint, StoredPlan, find, import_plans, nearest, remember, stored
from hal.measure import Estimate

KEYS = {
    "model": {"name": "cnn", "filters": [4, 4], "dense": 8, "size": 12},
    "backend": "cpu",
    "data": {"name": "synthetic:80"},
}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HAL_CACHE", str(tmp_path / "cache"))


def plan_for(fingerprint, plan, when="2026-01-02T00:00:00+00:00", objective="throughput"):
    speed = Estimate(median=100, low=99, high=101, n=9, unit="samples/s")
    ratio = Estimate(median=2, low=1.9, high=2.1, n=9, unit="x")
    return StoredPlan(
        fingerprint=fingerprint,
        objective=objective,
        plan=plan,
        throughput=speed,
        over_default=ratio,
        when=when,
        hal_version="0",
    )


def command(*words):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def test_tuned(tmp_path):
    job = prepare(build(JobConfig, KEYS))
    fingerprint = Fingerprint.of(job.backend, job.device, job.workload, job.model)
    with pytest.raises(UnavailableError, match="no tuned plan is stored") as caught:
        prepare(build(JobConfig, {**KEYS, "plan": "tuned"}))
    assert "hal tune model=cnn backend=cpu" in caught.value.fix
    remember(plan_for(fingerprint, job.plan.model_copy(update={"batch": 8, "precision": "bf16", "threads": 1})))
    tuned = prepare(build(JobConfig, {**KEYS, "plan": "tuned"}))
    assert (tuned.plan.batch, tuned.plan.precision, tuned.plan.threads) == (8, "bf16", 1)
    assert "2.00 times as fast as the default" in tuned.origin
    assert prepare(build(JobConfig, {**KEYS, "plan": "tuned", "batch": 4})).plan.batch == 4, "keys win"
    other = {**KEYS, "model": {**KEYS["model"], "dense": 9}}
    with pytest.raises(UnavailableError, match="was found with another structure"):
        prepare(build(JobConfig, {**other, "plan": "tuned"}))
    with pytest.raises(UnavailableError):
        prepare(build(JobConfig, {**KEYS, "plan": "tuned"}), "infer")
    assert "tuned" in hal.bench(**KEYS, plan="tuned", seconds=0.05).origin


def test_the_same_data_shapes_are_the_same_workload():
    one, two = (prepare(build(JobConfig, {**KEYS, "data": {"name": name}})) for name in ("synthetic:80", "digits"))
    assert Fingerprint.of(one.backend, one.device, one.workload, one.model) == Fingerprint.of(
        two.backend, two.device, two.workload, two.model
    )


def test_the_latest_of_equals_and_the_nearest():
    described = description()
    here = described.fingerprint
    far = replace(here, name="Fake 2", arch="f2")
    near = replace(here, versions={"torch": "9"})
    for each in (far, near):
        remember(plan_for(each, described.default))
    assert find(here) is None
    assert [p.fingerprint for p in nearest(here)] == [near, far]
    remember(plan_for(here, described.default, objective="latency"))
    remember(plan_for(here, described.default, when="2026-02-02T00:00:00+00:00"))
    assert find(here).objective == "throughput"
    assert find(here, "latency").objective == "latency"
    assert len(stored()) == 4


def test_shared_with_others(tmp_path, monkeypatch):
    described = description()
    assert "No plan is stored" in command("plans").stdout
    remember(plan_for(described.fingerprint, described.default))
    file = tmp_path / "team.json"
    assert command("plans", "--export", str(file)).exit_code == 0
    monkeypatch.setenv("HAL_CACHE", str(tmp_path / "elsewhere"))
    assert stored() == ()
    done = command("plans", "--import", str(file))
    assert done.exit_code == 0
    assert "Fake 1" in done.stdout
    assert find(described.fingerprint).plan == described.default
    assert json.loads(command("plans", "--json").stdout)[0]["objective"] == "throughput"


def test_a_narrow_terminal_breaks_no_word():
    described = description()
    here = replace(described.fingerprint, name="NVIDIA H100 80GB HBM3")
    remember(plan_for(here, described.default))
    long = replace(here, model="/home/ann/a/long/way/to/net.py:Net")
    remember(plan_for(long, described.default, objective="latency"))
    shown = CliRunner().invoke(app, ["plans"], env={"COLUMNS": "80"}).stdout
    assert "mode: train" in shown.splitlines()[0]
    assert "NVIDIA H100 80GB HBM3" in shown.splitlines()[0]
    assert "t.py:Net" in shown
    words = shown.split()
    assert {"samples/s", "over", "default", "fp32,", "[1.90,", "2.10]"} <= set(words), "each word is whole"


def test_what_is_no_export(tmp_path):
    with pytest.raises(NotFoundError):
        import_plans(tmp_path / "nothing.json")
    (tmp_path / "x.json").write_text('{"plans": [1]}')
    with pytest.raises(ConfigError, match="contains no plans"):
        import_plans(tmp_path / "x.json")


def test_damaged_files_are_left_out(tmp_path):
    described = description()
    path = remember(plan_for(described.fingerprint, described.default))
    path.with_name("other.json").write_text("{")
    assert len(stored()) == 1


def test_a_worker_of_the_tuner_loads_nothing_before_it_is_asked():
    code = (
        "import sys, hal.tuner.worker; print([m for m in ('torch', 'numpy', 'optuna', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
