"""``hal tune target=...``: plans that are built and not run, and that nothing takes for measured ones."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from tuner_helpers import description
from typer.testing import CliRunner

from hal.cli.app import app
from hal.cli.commands._tune_view import TuneView
from hal.config import PlanKeys
from hal.errors import ConfigError, UnavailableError, UnsupportedError
from hal.job.stored_plans import stored
from hal.tuner import Tuning, tune
from hal.tuner.config import SpaceSection, TuneConfig
from hal.tuner.report.sections import page_of
from hal.tuner.space import Space
from hal.tuner.trial_result import Outcome

WORKER = (sys.executable, str(Path(__file__).parent / "target_worker.py"))
SOURCE = "roofline of a test"
SMALL = {"name": "cnn", "filters": [4], "dense": 8, "size": 12}
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def tuned(tmp_path, observer=None, **keys):
    given = {"model": SMALL, "data": {"name": "synthetic:4096"}, "backend": None, "target": "t1000", **keys}
    given = {name: value for name, value in given.items() if value is not None}
    built = TuneConfig.model_validate({"budget": 100_000, "out": str(tmp_path / "out"), **given})
    return tune(built, observer, command=WORKER)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tuning that tried everything, with the plans that were remembered before it."""
    folder = tmp_path_factory.mktemp("whole")
    before = stored()
    return tuned(folder, space={"batch": [64, 512, 1024]}), folder / "out", before


def test_all_is_labelled_as_an_estimate(whole):
    found, out, before = whole
    assert (found.target, found.estimated_by) == ("t1000", SOURCE)
    assert found.notes == (f"estimated by {SOURCE}: not measured",)
    assert (found.finalists, found.sentinels, found.over_default) == ((), (), None)
    for trial in found.trials:
        assert (trial.measurement, trial.guard) == (None, None)
        assert (trial.estimate is not None) is (trial.outcome is Outcome.OK)
    best = found.trial(found.winner_trial)
    assert best.values == {"throughput": best.estimate.throughput}
    assert best.estimate.source == SOURCE
    assert Tuning.model_validate_json((out / "tuning.json").read_text()) == found
    text = (out / "best.yaml").read_text()
    assert f"Estimated by {SOURCE}, not measured." in text
    assert yaml.safe_load(text)["batch"] == found.winner.batch
    assert stored() == before, "no estimate is remembered"


def test_the_report_marks_every_value(whole):
    found, out, _ = whole
    page = page_of(found, (out / "best.yaml").read_text())
    assert page.kind == "estimated"
    assert SOURCE in page.lead
    sections = {section.name: section for section in page.sections}
    assert not {"finalists", "guard"} & set(sections), "nothing was measured or compared"
    assert {sections[name].kind for name in ("history", "slices", "trials")} == {"estimated"}
    assert "estimated" in sections["history"].texts[0]
    assert all(number.kind == "estimated" for number in page.numbers if "samples/s" in number.value)
    assert not any("plan=tuned" in code.text for code in sections["use"].codes)
    assert (out / "report.html").stat().st_size > 10**6


def test_what_is_tried(whole):
    """The target's capabilities: one device or all four, and no eager programs."""
    found = whole[0]
    assert found.status == "done"
    assert found.space["parallel"] == ("none", "dp=4")
    assert found.space["compile"] == ("default",)
    # A MiB a sample and one for the program, of a GiB: 1,024 do not fit on one device.
    by_plan = {(t.plan.batch, t.plan.parallel, t.plan.precision): t.outcome for t in found.trials}
    assert by_plan[1024, "none", "bf16"] is Outcome.OOM
    assert by_plan[1024, "dp=4", "fp32"] is Outcome.OK
    assert all(outcome is Outcome.OK for (batch, *_), outcome in by_plan.items() if batch < 1024)
    assert (found.winner.batch, found.winner.parallel, found.winner.precision) == (1024, "dp=4", "bf16")


ONE = {"parallel": "none", "precision": "fp32"}


def test_a_batch_that_does_not_fit_rules_out_larger_ones(tmp_path):
    found = tuned(tmp_path, **ONE, space={"batch": [512, 1024, 2048]})
    assert [t.plan.batch for t in found.trials] == [64, 512, 1024]
    assert found.failures == {Outcome.OOM: (found.trials[-1].number,)}
    assert found.searched.ruled_out == 1


def test_a_compiler_that_fails_costs_one_trial(tmp_path, monkeypatch):
    faults = {16: "crash", 32: "hang", 128: "refuse", 256: "cannot"}
    monkeypatch.setenv("TARGET_FAULTS", json.dumps(faults))
    found = tuned(tmp_path, **ONE, limit=10, space={"batch": [64, 512, *faults]})
    ended = {t.plan.batch: (t.outcome.value, t.message) for t in found.trials}
    assert {batch: outcome for batch, (outcome, _) in ended.items()} == {
        16: "crash",
        32: "timeout",
        64: "ok",
        128: "compile",
        256: "unsupported",
        512: "ok",
    }
    assert "SIGSEGV in phase build" in ended[16][1]
    assert "in phase build" in ended[32][1]
    assert "the compiler says: internal error" in ended[128][1]
    assert "the compiler says: no such op" in ended[256][1]


@pytest.mark.parametrize(
    ("keys", "best"), [({"objective": "memory"}, 32), ({"objective": "latency", "mode": "infer"}, 64)]
)
def test_objectives(tmp_path, keys, best):
    space = {"batch": [32, 64], "accumulate": [1]} if best == 32 else {}
    found = tuned(tmp_path, **ONE, **keys, space=space)
    assert found.winner.batch == best
    assert found.trial(found.winner_trial).estimate is not None


def test_no_estimate_of_time(tmp_path, monkeypatch):
    monkeypatch.setenv("TARGET_FAULTS", json.dumps({64: "untimed"}))
    with pytest.raises(UnsupportedError, match="objective=throughput cannot be used with target=t1000"):
        tuned(tmp_path)
    found = tuned(tmp_path, objective="memory", batch=64, parallel="none", out=str(tmp_path / "memory"))
    assert found.winner is not None


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        ({"objective": "energy"}, UnsupportedError, "objective=energy cannot be used with target=t1000"),
        ({"objective": "throughput,time_to_loss"}, UnsupportedError, "objective=time_to_loss"),
        ({"backend": "cpu"}, ConfigError, "backend= cannot be combined with target=t1000"),
        ({"seconds": 3}, ConfigError, "seconds= cannot be combined with target=t1000"),
        ({"plan": "tuned"}, ConfigError, "plan=tuned cannot be combined with target="),
        ({"compile": "eager"}, ConfigError, "always compiled"),
        ({"parallel": "dp=2"}, None, "which has 4 devices"),
        ({"target": "t2000"}, ConfigError, "target=t2000 is not known"),
        ({"target": "lowered"}, UnsupportedError, "programs are only lowered"),
        ({"target": "missing"}, UnavailableError, "the compiler is not installed"),
    ],
)
def test_wrong_requests(tmp_path, keys, error, said):
    with pytest.raises(error or Exception, match=said) as raised:
        tuned(tmp_path, **keys)
    assert raised.value.exit_status == (3 if error is UnavailableError else 2)
    assert not (tmp_path / "out").exists(), "nothing was begun"


def test_what_people_see(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TARGET_FAULTS", json.dumps({64: "refuse"}))
    live = TuneView()
    live.console = Console(width=300, highlight=False)
    found = tuned(tmp_path, live, **ONE, space={"batch": [16, 32, 64]})
    shown = capsys.readouterr().out
    assert "This hardware is not in this machine, so plans are only compiled, and all numbers are estimates." in shown
    assert shown.count("estimated, not measured") == 2 == len(found.trials) - 1
    assert f"estimated by {SOURCE}: not measured" in shown
    assert "est. samples/s" in shown
    assert "over default" not in shown, "the default was not built"
    assert "hal bench --config" in shown
    assert "plan=tuned" not in shown


def test_one_device_or_all():
    here = description(parallel=("dp",)).model_copy(update={"devices": 4})
    there = here.model_copy(update={"target": "t1000"})
    spaces = [Space(each, PlanKeys(), SpaceSection(), ("throughput",)) for each in (here, there)]
    assert spaces[0].dimensions["parallel"] == ("none", "dp=2", "dp=4")
    assert spaces[1].dimensions["parallel"] == ("none", "dp=4")


@needs_libtpu
def test_a_real_compiler(tmp_path):
    keys = ["model=cnn", "model.filters=[4]", "model.dense=8", "model.size=12", "target=tpu-v5e:1x1", "batch=16"]
    keys += ["conv=patches", "pool=window", "crop=gather", "precision=fp32", "budget=3h", f"out={tmp_path}/out"]
    done = CliRunner().invoke(app, ["tune", *keys, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["target"] == "tpu-v5e:1x1"
    assert re.match("roofline of|compiler's estimate", found["estimated_by"])
    assert [t["outcome"] for t in found["trials"]] == ["ok"]
    assert all(t["estimate"]["memory_bytes"] > 0 and t["measurement"] is None for t in found["trials"])
