"""``hal runs``: lists of runs, damaged ones among them, and what differs between two."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest
from run_helpers import CNN, command, train

from hal.after.comparison import compare_runs
from hal.after.runs import STATES, find_runs, selected_runs, sorted_runs
from hal.cli.commands._runs_view import show_runs
from hal.errors import ConfigError, NotFoundError
from hal.run.record import Status


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, and a record for making others."""
    root = tmp_path_factory.mktemp("runs")
    train(root / "first", epochs=5, lr=1e-3)
    train(root / "group" / "second", epochs=6, lr=1e-3, base={**CNN, "threads": 2})
    return root


@pytest.fixture
def many(folder, tmp_path):
    """A function that makes a folder of records that differ."""
    record = json.loads((folder / "first" / "record.json").read_text())

    def make(count):
        for at in range(count):
            (tmp_path / f"run-{at:04d}").mkdir()
            changed = {**record, "best": at / count, "started": f"2026-01-{1 + at % 28:02d}T00:00:00+00:00"}
            (tmp_path / f"run-{at:04d}" / "record.json").write_text(json.dumps(changed))
        return tmp_path

    return make


def test_a_list(folder):
    done = command("runs", folder)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["run", "model", "data", "device", "best", "epochs", "when", "state", "plan"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["first", "cnn", "synthetic:80", "cpu:0"],
        ["group/second", "cnn", "synthetic:80", "cpu:0"],
    ]
    assert "batch 16, fp32" in lines[1]


def test_as_json(folder):
    found = json.loads(command("runs", folder, "--json").stdout)
    assert [(each["state"], each["epochs"], each["metric"]) for each in found] == [
        ("done", 5, "accuracy"),
        ("done", 6, "accuracy"),
    ]


def test_a_limit_holds_for_json_too(many):
    root = many(4)
    found = json.loads(command("runs", root, "--json", "--limit", "1", "--sort", "best").stdout)
    assert [each["best"] for each in found] == [0.75]
    assert len(json.loads(command("runs", root, "--json").stdout)) == 4


def test_half_written_ones_are_listed(folder, many):
    root = many(3)
    whole = (root / "run-0000" / "record.json").read_text()
    for name, text in {"cut": whole[:300], "empty": "", "list": "[1]", "null": "null", "deep": "[" * 100_000}.items():
        (root / name).mkdir()
        (root / name / "record.json").write_text(text)
    for key in ("workload", "plan", "device", "status", "started", "epochs"):
        (root / f"wrong-{key}").mkdir()
        (root / f"wrong-{key}" / "record.json").write_text(json.dumps({**json.loads(whole), key: 7}))
    (root / "killed" / "checkpoints").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "other").mkdir()
    done = command("runs", root)
    assert done.exit_code == 0, done.stderr
    assert "killed: it has checkpoints, but no record.json" in done.stdout
    states = {entry.folder.name: entry.state for entry in find_runs(root)}
    assert {name for name, state in states.items() if state == "damaged"} >= {"cut", "empty", "list", "null", "deep"}
    assert states["run-0001"] == "done"
    assert len(states) == 3 + 5 + 6 + 1


def test_one_that_was_killed(folder, many):
    root = many(1)
    path = root / "run-0000" / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "running"}))
    assert [entry.state for entry in find_runs(root)] == ["killed"]


def test_sorted_and_selected(folder, many):
    entries = find_runs(many(5))
    assert [entry.best for entry in sorted_runs(entries, "best")] == [0.8, 0.6, 0.4, 0.2, 0.0]
    assert len(selected_runs(entries, ["model=cnn", "state=done", "batch=16", "model.dense=8"])) == 5
    assert selected_runs(entries, ["lr=0.5"]) == []
    with pytest.raises(ConfigError, match="no run has the key colour"):
        selected_runs(entries, ["colour=red"])
    with pytest.raises(ConfigError, match="has no value"):
        selected_runs(entries, ["model"])


def test_a_narrow_terminal_breaks_no_word(many, monkeypatch, capsys):
    entries = [replace(entry, device="cuda:nvidia:1") for entry in find_runs(many(3))]
    monkeypatch.setenv("COLUMNS", "80")

    def shown(*more):
        show_runs([*entries, *more], entries[0].folder.parent, 0)
        return capsys.readouterr().out.splitlines()

    alike, head, *rows = shown()
    assert alike.startswith("model: cnn  data: synthetic:80  device: cuda:nvidia:1")
    assert head.split() == ["run", "best", "epochs", "when"]
    assert [row.split()[0] for row in rows] == ["run-0000", "run-0001", "run-0002"]
    other = replace(entries[0], model="/home/ann/a/long/way/to/net.py:Net", data="csv:/home/ann/tables/houses.csv")
    alike, head, *rows = shown(other)
    assert len(rows) == 4, "a line for each run"
    assert max(map(len, rows)) <= 80
    assert rows[3].split()[1].endswith("t.py:Net")
    assert "…" in rows[3]


def test_where_none_of_the_runs_is_meant(many):
    root = many(3)

    def said(*conditions):
        words = [word for each in conditions for word in ("--where", each)]
        return command("runs", root, *words).stdout

    assert said("state=odd") == (
        "None of the 3 runs has state=odd. Of state there are: done. "
        "A state is one of: running, done, interrupted, failed, killed, damaged.\n"
    )
    assert said("model=cnn", "lr=7") == "None of the 3 runs has model=cnn and lr=7. Of lr there are: 0.001.\n"
    assert set(STATES) == {*get_args(Status), "killed", "damaged"}


def test_requests_that_are_wrong(folder, tmp_path):
    for words, said in {
        ("runs", folder, "--sort", "size"): "--sort size is not known",
        ("runs", tmp_path / "nowhere"): "is not a folder",
        ("runs", folder, folder, folder): "3 folders were given",
        ("runs", folder, folder / "first"): "there is no run in",
    }.items():
        done = command(*words)
        assert (done.exit_code, said in done.stderr) == (2, True), (words, done.stderr)
    assert "No run was found" in command("runs", tmp_path).stdout
    with pytest.raises(NotFoundError):
        find_runs(tmp_path / "nowhere")


def test_a_thousand_runs_load_nothing_that_takes_long(folder, many):
    """What takes long is what is loaded; the time itself depends on the machine."""
    root = many(1000)
    code = "import sys; sys.argv = ['hal', 'runs', sys.argv[1]]\ntry:\n    from hal.cli import main; main()\nfinally:\n"
    code += "    print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.count("run-0") == 50
    assert "950 more runs not shown" in done.stdout
    assert {"torch", "numpy", "yaml"}.isdisjoint(done.stderr.split())


class TestTwo:
    def test_what_differs(self, folder):
        found = compare_runs(folder / "first", folder / "group" / "second")
        assert {(each.name, each.first, each.second) for each in found.keys} == {("epochs", "5", "6")}
        assert [each.name for each in found.plan] == ["threads"]
        assert found.surroundings == ()
        assert {each.name: (each.first, each.second) for each in found.results}["epochs"] == ("5", "6")
        assert any(verdict.startswith("Speed: ") and "4 pairs of epochs" in verdict for verdict in found.verdicts)

    def test_on_the_terminal(self, folder):
        done = command("runs", folder / "first", folder / "group" / "second")
        assert done.exit_code == 0
        assert "Device and software: no difference" in done.stdout
        told = json.loads(command("runs", folder / "first", folder / "group" / "second", "--json").stdout)
        assert told["plan"][0]["name"] == "threads"

    @pytest.mark.parametrize(
        ("first", "second", "better", "said"),
        [
            (0.90, 0.99, "max", "second is better by 0.09; 95% interval of the difference [0.0713, 0.1087]"),
            (0.99, 0.90, "max", "second is worse by 0.09"),
            (0.95, 0.96, "max", "no difference shown"),
            (0.95, 0.95, "max", "both are equally good"),
        ],
    )
    def test_what_the_metrics_can_tell(self, folder, tmp_path, first, second, better, said):
        record = json.loads((folder / "first" / "record.json").read_text())
        for name, best in (("a", first), ("b", second)):
            (tmp_path / name).mkdir()
            changed = {**record, "best": best, "better": better, "samples": {"train": 9, "validation": 1100}}
            (tmp_path / name / "record.json").write_text(json.dumps(changed))
        assert said in " ".join(compare_runs(tmp_path / "a", tmp_path / "b").verdicts)

    def test_other_data(self, folder, tmp_path):
        record = json.loads((folder / "first" / "record.json").read_text())
        record["workload"]["data"] = "digits"
        (tmp_path / "record.json").write_text(json.dumps(record))
        assert "different data" in compare_runs(folder / "first", tmp_path).verdicts[0]
