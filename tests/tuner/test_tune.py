"""Whole tunings on workers that compute nothing."""

import json
import re
import signal
from dataclasses import replace

import pytest
import yaml
from rich.console import Console
from tuner_helpers import Seen, config, description, fake_tune, launched
from typer.testing import CliRunner

import hal
from hal.cli.app import app
from hal.cli.commands._tune_view import TuneView
from hal.contract.plan import Plan
from hal.errors import ConfigError, NotFoundError, UnsupportedError
from hal.job.stored_plans import find, stored
from hal.measure import Estimate
from hal.tuner import TuneObserver, Tuning, resumed
from hal.tuner.config import ConstraintSection
from hal.tuner.finals import with_final_values
from hal.tuner.ranking import best_of
from hal.tuner.report.sections import page_of
from hal.tuner.result import Finalist
from hal.tuner.trial_result import Outcome, Trial


def test_a_small_space_is_tried_whole(monkeypatch, tmp_path):
    seen = Seen()
    found = fake_tune(monkeypatch, tmp_path, observer=seen)
    assert found.status == "done"
    assert found.searched.method == "grid"
    assert found.searched.plans == len(found.trials) == len(set(launched(tmp_path)))
    assert found.trials[0].plan == found.default
    assert (found.winner.batch, found.winner.precision, found.winner.compile) == (1024, "bf16", "default")
    assert found.over_default.low > 1
    assert found.over_baseline == found.over_default, "the default plan is fp32 eager here"
    assert [t.number for t in seen.trials] == [t.number for t in found.trials]


def test_what_is_written(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path)
    out = tmp_path / "out"
    assert Tuning.model_validate_json((out / "tuning.json").read_text()) == found
    lines = (out / "trials.jsonl").read_text().splitlines()
    assert [Trial.model_validate_json(line) for line in lines] == list(found.trials)
    best = yaml.safe_load((out / "best.yaml").read_text())
    assert best["model"] == {"name": "cnn"}
    assert best["batch"] == found.winner.batch
    kept = find(found.fingerprint)
    assert kept.plan == found.winner
    assert kept.over_default == found.over_default
    other = replace(found.fingerprint, versions={"torch": "9"})
    assert find(other) is None, "another framework version is no answer"


def test_another_fingerprint_is_a_warm_start(monkeypatch, tmp_path):
    first = fake_tune(monkeypatch, tmp_path)
    changed = description()
    print_ = replace(changed.fingerprint, versions={"torch": "9"})
    changed = changed.model_copy(update={"fingerprint": print_})
    seen = Seen()
    again = fake_tune(monkeypatch, tmp_path, observer=seen, described=changed, out=str(tmp_path / "again"), trials=3)
    assert [t.origin for t in again.trials] == ["default", "stored", "search"]
    assert again.trials[1].plan == first.winner
    assert any("versions" in note for note in seen.notes)
    assert len(stored()) == 2


def test_what_was_found_here_is_tried_again(monkeypatch, tmp_path):
    first = fake_tune(monkeypatch, tmp_path)
    seen = Seen()
    again = fake_tune(monkeypatch, tmp_path, observer=seen, out=str(tmp_path / "again"), trials=3)
    assert again.trials[1].plan == again.winner == first.winner, "less time finds nothing worse"
    assert any("found here before" in note for note in seen.notes)
    assert len(stored()) == 1


def test_a_plan_that_was_found_before_gives_way_to_a_better_one_alone(monkeypatch, tmp_path):
    first = fake_tune(monkeypatch, tmp_path)
    assert first.remembered
    narrow = fake_tune(monkeypatch, tmp_path, out=str(tmp_path / "narrow"), batch=16, precision="fp32")
    assert not narrow.remembered, "it was not compared with the other"
    assert find(first.fingerprint).plan == first.winner


def test_ctrl_c_in_the_last_measurements(monkeypatch, tmp_path):
    class Stopping(TuneObserver):
        def finals(self, trials):
            signal.raise_signal(signal.SIGINT)

    found = fake_tune(monkeypatch, tmp_path, observer=Stopping(), trials=6)
    assert (found.status, found.finalists) == ("interrupted", ())
    best = max((t for t in found.trials if not t.cut_short), key=lambda t: t.values["throughput"])
    assert found.winner == best.plan, "those that were not measured again did not fail"
    keys = resumed({"resume": str(tmp_path / "out")})
    again = fake_tune(monkeypatch, tmp_path, **keys.model_dump(exclude_unset=True), out=None)
    assert again.status == "trials"
    assert again.finalists
    assert len(launched(tmp_path)) == 6


@pytest.mark.parametrize(
    "keys", [{"space": {"batch": [16, 32]}}, {"space": {"precision": ["bf16"], "batch": [16, 64]}}]
)
def test_what_the_space_does_not_hold_is_there_to_compare_with(monkeypatch, tmp_path, keys):
    found = fake_tune(monkeypatch, tmp_path, **keys)
    for key, values in keys["space"].items():
        assert getattr(found.winner, key) in values
    outside = [t for t in found.trials if not t.candidate]
    assert {t.origin for t in outside} <= {"default", "baseline"}
    assert outside
    assert found.searched.tried == found.searched.plans
    assert found.over_default is not None
    assert "parallel" in {section.name for section in page_of(found, "").sections}


def test_constraints_that_nothing_keeps(monkeypatch, tmp_path, capsys):
    live = TuneView()
    live.console = Console(width=300, highlight=False)
    found = fake_tune(monkeypatch, tmp_path, observer=live, constraint={"memory": "100M"}, trials=4)
    assert found.winner is None
    key, ratio = found.nearest_miss
    assert key == "memory"
    assert ratio == min(max(t.violations.values()) for t in found.trials)
    assert "No plan meets constraint.memory" in capsys.readouterr().out
    assert page_of(found, "").headline == "No plan meets constraint.memory"


def test_trials_are_of_the_space(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, space={"batch": [16, 32]}, trials=1)
    assert [t.candidate for t in found.trials] == [False, True]
    assert found.winner == found.trials[1].plan


def test_a_plan_that_may_not_win_is_still_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("HAL_CACHE", str(tmp_path / "fake" / "cache"))
    first = fake_tune(monkeypatch, tmp_path, space={"batch": [64], "precision": ["fp32"], "compile": ["eager"]})
    assert find(first.fingerprint).plan == first.default
    fake_tune(monkeypatch, tmp_path, out=str(tmp_path / "other"), space={"batch": [16]})
    assert find(first.fingerprint).plan == first.default, "it was tried to compare with alone"


def test_a_step_time_holds_in_the_last_measurements_too():
    step = Estimate(median=21.0, low=20.5, high=21.5, n=9, unit="ms")
    speed = Estimate(median=100, low=99, high=101, n=9, unit="samples/s")
    plan = Plan(batch=8)
    trial = Trial(number=0, plan=plan, origin="search", outcome=Outcome.OK, values={"throughput": 99.0}, started="")
    held = Finalist(trial=0, plan=plan, throughput=speed, step_ms=step)
    assert "constraint.latency_ms=20" in with_final_values(held, trial, ConstraintSection(latency_ms=20)).message
    assert with_final_values(held, trial, ConstraintSection(latency_ms=22)).values == {"throughput": 100}


@pytest.mark.parametrize("keys", [{"objective": "latency"}, {"batch": 32}, {"space": {"batch": [16]}}])
def test_another_question_does_not_go_on(monkeypatch, tmp_path, keys):
    fake_tune(monkeypatch, tmp_path, trials=2)
    with pytest.raises(ConfigError, match=f"{next(iter(keys))}= cannot change"):
        resumed({"resume": str(tmp_path / "out"), **keys})


def test_another_device_does_not_go_on(monkeypatch, tmp_path):
    fake_tune(monkeypatch, tmp_path, trials=2)
    changed = description()
    other = replace(changed.fingerprint, name="Fake 2")
    keys = resumed({"resume": str(tmp_path / "out")}).model_dump(exclude_unset=True)
    with pytest.raises(ConfigError, match="another device"):
        fake_tune(monkeypatch, tmp_path, described=changed.model_copy(update={"fingerprint": other}), **keys, out=None)


def test_trials_are_counted(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, trials=4)
    assert found.status == "trials"
    assert len(found.trials) == len(launched(tmp_path)) == 4
    assert found.searched.remaining == found.searched.plans - 4
    assert found.searched.likely_gain >= 0


def test_one_plan_alone_is_no_find(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, trials=1)
    assert found.winner == found.default
    assert found.searched.likely_gain is None
    assert any("nothing was compared" in note for note in found.notes)
    assert stored() == ()


def test_the_winner_was_measured(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, trials=5)
    assert found.winner in [t.plan for t in found.trials]
    assert found.trial(found.winner_trial).feasible


def test_resumed(monkeypatch, tmp_path):
    first = fake_tune(monkeypatch, tmp_path, trials=4)
    keys = resumed({"resume": str(tmp_path / "out"), "trials": 9})
    again = fake_tune(monkeypatch, tmp_path, **keys.model_dump(exclude_unset=True), out=None)
    assert again.trials[:4] == first.trials
    assert len(again.trials) == 9
    assert len(set(launched(tmp_path))) == len(launched(tmp_path)) == 9
    lines = (tmp_path / "out" / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [t.number for t in again.trials]


def test_a_folder_is_not_overwritten(monkeypatch, tmp_path):
    fake_tune(monkeypatch, tmp_path, trials=1)
    with pytest.raises(ConfigError, match="already contains a tuning"):
        fake_tune(monkeypatch, tmp_path, trials=1)
    with pytest.raises(NotFoundError, match="contains no tuning"):
        resumed({"resume": str(tmp_path)})


def test_constraints(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, constraint={"memory": "300M"})
    assert found.winner.batch == 128
    assert all(t.violations["memory"] > 1 for t in found.trials if t.plan.batch > 200)
    found = fake_tune(monkeypatch, tmp_path, out=str(tmp_path / "b"), constraint={"latency_ms": 40})
    assert found.trial(found.winner_trial).measurement.step_ms.median <= 40


def test_a_pareto_front(monkeypatch, tmp_path):
    found = fake_tune(
        monkeypatch, tmp_path, objective="throughput,memory", space={"accumulate": [1], "threads": [None]}
    )
    front = [found.trial(n) for n in found.pareto]
    assert {t.plan.batch for t in front} == {16, 32, 64, 128, 256, 512, 1024}
    assert all((t.plan.precision, t.plan.compile) == ("bf16", "default") for t in front)
    assert found.winner.batch == 1024
    assert stored() == (), "a front has no plan that is the answer"


def test_latency(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, objective="latency")
    assert found.winner.batch == 16


def test_no_counter_of_energy(monkeypatch, tmp_path):
    with pytest.raises(UnsupportedError, match="no counter"):
        fake_tune(monkeypatch, tmp_path, objective="energy")


def test_a_worker_that_cannot_start(monkeypatch, tmp_path):
    from hal.errors import RunError
    from hal.tuner import tune

    with pytest.raises(RunError, match="cannot start /nowhere/python"):
        tune(config(out=str(tmp_path / "out"), python="/nowhere/python"))
    assert not (tmp_path / "out").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "no model was given"),
        (["model=cnn", "backend=null"], 2, "only shapes"),
        (["model=cnn", "backend=nothing"], 2, "not known"),
        (["model=cnn", "backend=cpu", "space.bach=[1]"], 2, "did you mean space.batch"),
        (["model=cnn", "backend=cpu", "device=7"], 3, "does not exist"),
        (["model=cnn", "backend=cpu", "space.precision=[tf32]"], 2, "no plan is possible"),
        (["model=cnn", "backend=cpu", "storage=nosuchdb://x"], 2, "storage="),
        (["resume=nowhere"], 2, "contains no tuning"),
    ],
)
def test_wrong_requests(monkeypatch, tmp_path, words, status, said):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["tune", *words], env={"COLUMNS": "200"})
    assert done.exit_code == status, done.output
    assert said in done.stderr
    assert list(tmp_path.rglob("*.json*")) == []
    assert not any(tmp_path.glob("runs/*")), "nothing was begun"


def test_surely_slower_ones_are_cut_short(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path)
    cut = [t for t in found.trials if t.cut_short]
    assert cut
    assert all(t.outcome is Outcome.OK and t.guard is None for t in cut)
    assert found.winner_trial not in {t.number for t in cut}
    assert {f.trial for f in found.finalists}.isdisjoint(t.number for t in cut)


def test_in_python(tmp_path):
    """``hal.tune`` is ``hal tune``: real trials, a winner that is remembered, keys as in a command."""
    keys = {"model": {"name": "cnn", "filters": [4], "dense": 8, "size": 12}, "backend": "cpu", "data": "synthetic:64"}
    space = {"layout": ["nhwc", "nchw"]}
    fixed = {"batch": 16, "precision": "fp32", "compile": "eager", "threads": 1, "conv": "direct", "pool": "window"}
    seen = Seen()
    found = hal.tune(seen, **keys, **fixed, space=space, seconds=0.1, trials=2, finalists=1, out=str(tmp_path / "out"))
    assert isinstance(found, Tuning)
    assert [t.outcome for t in found.trials] == [Outcome.OK, Outcome.OK]
    assert len(seen.trials) == 2
    assert Tuning.model_validate_json((tmp_path / "out" / "tuning.json").read_text()) == found
    assert find(found.fingerprint).plan == found.winner
    with pytest.raises(ConfigError, match="did you mean objective"):
        hal.tune(**keys, objectiv="memory")


def test_one_that_was_cut_short_is_named_so(monkeypatch, tmp_path, capsys):
    """In the live lines; in the table of the best plans there is none, however few others there are."""
    live = TuneView()
    live.console = Console(width=300, highlight=False)
    found = fake_tune(monkeypatch, tmp_path, observer=live)
    cut = {t.number for t in found.trials if t.cut_short}
    assert cut
    lines = capsys.readouterr().out.splitlines()
    assert sum("cut short at about" in line and "certainly not the best" in line for line in lines) == len(cut)
    assert cut.isdisjoint(t.number for t in best_of(found.trials, "throughput"))
    assert f"Cut short because they are certainly not the best: {len(cut)} trials" in "\n".join(lines)
    shown = [line for line in lines if re.match(r"(best|finalist)? +[\d,.]+ \[", line)]
    assert 0 < len(shown) <= len(found.trials) - len(cut)


def test_the_numbers_of_trials_are_those_of_the_report(monkeypatch, tmp_path, capsys):
    """Also after a resume, which numbers no trial anew."""
    for trials in (3, 6):
        live = TuneView()
        live.console = Console(width=300, highlight=False)
        keys = {"trials": 3} if trials == 3 else {"resume": str(tmp_path / "out")}
        found = fake_tune(monkeypatch, tmp_path, observer=live, **{"trials": trials, **keys})
        lines = capsys.readouterr().out.splitlines()
        shown = [int(line.split()[0]) for line in lines if re.match(r" *\d+  ", line)]
        assert shown == [t.number for t in found.trials][len(found.trials) - len(shown) :]
        assert shown


def test_the_table_in_a_narrow_terminal(monkeypatch, tmp_path, capsys):
    live = TuneView()
    live.console = Console(width=80, highlight=False)
    fake_tune(monkeypatch, tmp_path, observer=live)
    lines = capsys.readouterr().out.splitlines()
    head = next(n for n, line in enumerate(lines) if "samples/s" in line and "memory" in line and "plan" in line)
    at = lines[head].index("plan")
    words = {word for line in lines[head + 1 : head + 12] for word in line[at:].split()}
    assert {"batch", "default"} <= words, "no word is broken"


def test_five_thousand_plans(monkeypatch, tmp_path):
    """A space far too large to be tried whole: searched, ended, measured again, reported and resumed."""
    described = description(
        layouts=("nhwc", "nchw"),
        compile=("eager", "default", "max"),
        algorithms={"conv": ("direct", "patches"), "pool": ("window", "reshape")},
        samples=1 << 20,
    )
    space = {
        "batch": [2**n for n in range(3, 13)],
        "precision": ["fp32", "bf16", "fp16"],
        "threads": [None, 1, 2, 3, 5, 6, 8],
    }
    found = fake_tune(monkeypatch, tmp_path, described=described, space=space, trials=20, budget=600.0)
    assert found.searched.plans == 5040
    assert found.status in ("trials", "settled")
    assert found.searched.remaining == 5040 - len(found.trials)
    assert found.searched.likely_gain is not None
    assert found.winner.precision == "fp16", "four times as fast as fp32"
    assert found.finalists
    assert (tmp_path / "out" / "report.html").exists()
    keys = resumed({"resume": str(tmp_path / "out"), "trials": 21})
    again = fake_tune(monkeypatch, tmp_path, described=described, **keys.model_dump(exclude_unset=True), out=None)
    assert again.trials[: len(found.trials)] == found.trials
