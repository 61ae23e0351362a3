"""What a tuning begins with: stored plans of the most similar devices and workloads."""

from dataclasses import replace

import pytest
from test_plans import plan_for
from tuner_helpers import Seen, description, fake_tune

from hal.contract.plan import Plan
from hal.job.stored_plans import nearest, remember

HERE = description().fingerprint
VERSIONS = {"framework": "9"}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HAL_CACHE", str(tmp_path / "fake" / "cache"))


def plan(**keys):
    return Plan(**{"batch": 64, "layout": "nhwc", "compile": "eager", **keys}).resolve(description().device)


def test_the_device_counts_before_the_workload_and_that_before_the_rest():
    in_order = [
        replace(HERE, versions=VERSIONS),
        replace(HERE, versions=VERSIONS, name="Fake 2", memory_bytes=1, facts={"driver": "1"}),
        replace(HERE, structure="1"),
        replace(HERE, structure="1", input_shape=(4,)),
        replace(HERE, model="rnn"),
        replace(HERE, arch="f2"),
        replace(HERE, arch="f2", model="rnn", structure="1"),
        replace(HERE, vendor="somebody"),
        replace(HERE, vendor="somebody", arch="f2"),
    ]
    for each in reversed(in_order):
        remember(plan_for(each, plan()))
    remember(plan_for(replace(HERE, mode="infer"), plan()))
    remember(plan_for(replace(HERE, versions=VERSIONS), plan(), objective="latency"))
    found = nearest(HERE, "throughput", any_model=True)
    assert [p.fingerprint for p in found] == in_order
    assert {p.fingerprint.model for p in nearest(HERE)} == {"cnn"}
    assert len(nearest(HERE)) == len(in_order) - 2 + 1, "any objective, this model alone"


def test_three_of_the_nearest_come_after_the_default(monkeypatch, tmp_path):
    stored = [plan(batch=n, precision="bf16") for n in (128, 256, 512, 1024)]
    changes = [{"versions": VERSIONS}, {"structure": "1"}, {"arch": "f2"}, {"vendor": "somebody"}]
    for each, change in zip(stored, changes, strict=True):
        remember(plan_for(replace(HERE, **change), each))
    seen = Seen()
    found = fake_tune(monkeypatch, tmp_path, observer=seen, trials=5)
    assert [t.origin for t in found.trials] == ["default", "stored", "stored", "stored", "search"]
    assert [t.plan for t in found.trials[1:4]] == stored[:3]
    said = [note for note in seen.notes if "the search also tries a plan" in note]
    assert [note.rpartition(" ")[2] for note in said] == ["versions", "structure", "arch"]


def test_a_note_is_said_once(monkeypatch, tmp_path):
    for batch, model in ((128, "rnn"), (256, "gan")):
        remember(plan_for(replace(HERE, model=model), plan(batch=batch)))
    seen = Seen()
    found = fake_tune(monkeypatch, tmp_path, observer=seen, trials=4)
    assert [t.origin for t in found.trials] == ["default", "stored", "stored", "search"]
    assert len([note for note in seen.notes if "the search also tries a plan" in note]) == 1


def test_equal_seeds_cost_one_trial(monkeypatch, tmp_path):
    for change in ({"versions": VERSIONS}, {"structure": "1"}, {"arch": "f2"}):
        remember(plan_for(replace(HERE, **change), plan(batch=256)))
    remember(plan_for(replace(HERE, vendor="somebody"), plan()))  # the default, which is tried anyway
    found = fake_tune(monkeypatch, tmp_path, trials=4)
    assert [t.origin for t in found.trials] == ["default", "stored", "search", "search"]


def test_the_nearest_plan_stands_for_one_that_is_not_here(monkeypatch, tmp_path):
    """As the model of the search compares them: 90 is nearer to 64 than to 256, and 16 threads to all four cores."""
    elsewhere = Plan(batch=90, precision="bf16", layout="nhwc", compile="max", threads=16, parallel="dp=8")
    remember(plan_for(replace(HERE, arch="f2"), elsewhere))
    seen = Seen()
    found = fake_tune(
        monkeypatch, tmp_path, observer=seen, trials=2, space={"batch": [64, 256], "threads": [None, 1, 4]}
    )
    seed = found.trials[1].plan
    assert (seed.batch, seed.precision, seed.threads, seed.parallel) == (64, "bf16", 4, "none")
    assert any("the plan nearest to one of" in note for note in seen.notes)


def test_another_objective_is_no_seed(monkeypatch, tmp_path):
    remember(plan_for(replace(HERE, arch="f2"), plan(batch=256), objective="latency"))
    found = fake_tune(monkeypatch, tmp_path, trials=2)
    assert [t.origin for t in found.trials] == ["default", "search"]
