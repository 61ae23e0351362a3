"""The report of a tuning: what it says, and that nothing in it is taken for HTML."""

import json
import os
import re
import signal
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.graph_objects import Figure
from tuner_helpers import Seen, fake_tune
from typer.testing import CliRunner

from hal.cli.app import app
from hal.cli.commands._tune_view import TuneView
from hal.measure import Estimate
from hal.page import rendered
from hal.tuner import Tuning
from hal.tuner.report import REPORT, write_report
from hal.tuner.report.sections import page_of
from hal.util.lock import locked

FAULTS = {"batch=1024 precision=bf16": "oom", "batch=16 precision=bf16 compile=default": "segv"}
STYLE = (Path(__file__).parents[2] / "hal" / "page" / "style.css").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a tuning with failures."""
    path = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        fake_tune(patch, path, FAULTS, space={"threads": [None, 1]})
    return path / "out"


@pytest.fixture(scope="module")
def tuning(folder):
    return Tuning.model_validate_json((folder / "tuning.json").read_bytes())


def section(tuning, name):
    return next((each for each in page_of(tuning, "").sections if each.name == name), None)


def ratio(low, middle, high):
    return Estimate(median=middle, low=low, high=high, n=9, unit="x")


class Reader(HTMLParser):
    """What a page holds: its tags with their attributes, and its text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self._inside = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data


def read(tuning, best=""):
    return Reader(rendered(page_of(tuning, best)))


class TestWritten:
    def test_when_a_tuning_ends(self, monkeypatch, tmp_path, capsys):
        live = TuneView()
        fake_tune(monkeypatch, tmp_path, trials=2, observer=live)
        path = tmp_path / "out" / REPORT
        assert path.is_file()
        assert capsys.readouterr().out.rstrip().splitlines()[-1] == f"Report:  {path}"

    def test_when_it_is_interrupted(self, monkeypatch, tmp_path):
        class Stops(Seen):
            def trial(self, trial, progress):
                super().trial(trial, progress)
                if len(self.trials) == 3:
                    os.kill(os.getpid(), signal.SIGINT)

        found = fake_tune(monkeypatch, tmp_path, observer=Stops())
        assert found.status == "interrupted"
        said = Reader((tmp_path / "out" / REPORT).read_text()).text
        assert "the tuning was interrupted first" in said
        assert "it was interrupted; continue with hal tune resume=FOLDER" in said

    def test_again_by_command(self, folder, tmp_path):
        out = tmp_path / "page.html"
        done = CliRunner().invoke(app, ["report", str(folder), "--out", str(out), "--json"])
        assert (done.exit_code, json.loads(done.stdout)) == (0, {"report": str(out)})
        assert out.read_bytes() == (folder / REPORT).read_bytes()
        assert yaml_text(folder) in Reader(out.read_text()).text

    @pytest.mark.parametrize(
        ("files", "status", "said"),
        [
            ({}, 2, "contains neither a run nor a tuning"),
            ({"config.json": "{}"}, 2, "contains no tuning that has ended"),
            ({"tuning.json": '{"status": "done"}'}, 1, "is damaged, or was written by another version"),
        ],
    )
    def test_of_a_folder_without_one(self, tmp_path, files, status, said):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        done = CliRunner().invoke(app, ["report", str(tmp_path)], env={"COLUMNS": "300"})
        assert done.exit_code == status
        assert said in done.stderr
        assert not (tmp_path / REPORT).exists()

    def test_a_tuning_at_work(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        with locked(tmp_path, ""):
            done = CliRunner().invoke(app, ["report", str(tmp_path)], env={"COLUMNS": "300"})
        assert done.exit_code == 2
        assert f"is in use by process {os.getpid()}" in done.stderr

    def test_trials_after_the_last_end_are_named(self, folder, tmp_path):
        for name in ("tuning.json", "trials.jsonl"):
            (tmp_path / name).write_bytes((folder / name).read_bytes())
        with (tmp_path / "trials.jsonl").open("a") as file:
            file.write("{}\n{}\n")
        assert CliRunner().invoke(app, ["report", str(tmp_path)]).exit_code == 0
        assert "2 later trials of a session that has not ended" in (tmp_path / REPORT).read_text()


def yaml_text(folder):
    return (folder / "best.yaml").read_text().rstrip()


class TestHeadline:
    """The first line says no more than was measured."""

    def test_faster(self, tuning):
        page = page_of(tuning.model_copy(update={"over_default": ratio(1.53, 1.6, 1.69)}), "")
        assert page.headline == "1.60× [1.53, 1.69] faster than the default plan"
        assert page.lead.startswith("Batch 512, bf16, nhwc, compile default on Fake 1 (f1).")

    def test_within_the_noise(self, tuning):
        page = page_of(tuning.model_copy(update={"over_default": ratio(0.98, 1.02, 1.06)}), "")
        assert page.headline == "No plan is significantly faster than the default: 1.02× [0.98, 1.06]"

    def test_the_default_itself(self, tuning):
        changed = {"winner": tuning.default, "winner_trial": 0}
        assert page_of(tuning.model_copy(update=changed), "").headline == "The default plan is the best that was tried"

    def test_nothing(self, tuning):
        none = {"winner": None, "winner_trial": None, "finalists": (), "over_default": None, "over_baseline": None}
        page = page_of(tuning.model_copy(update=none), "")
        assert page.headline == "No plan worked"
        assert "use" not in {each.name for each in page.sections}

    def test_measured_once(self, tuning):
        page = page_of(tuning.model_copy(update={"finalists": (), "over_default": None, "over_baseline": None}), "")
        assert re.fullmatch(r"\d\.\d\d× faster than the default plan", page.headline)
        assert page.lead.endswith("This ratio has no interval.")

    def test_memory(self, monkeypatch, tmp_path):
        found = fake_tune(monkeypatch, tmp_path, objective="memory", trials=8, space={"accumulate": [1]})
        page = page_of(found, "")
        assert page.headline == "1.41× less memory than the default plan"  # 164 MiB over 116
        assert "116 instead of 164 MiB" in page.lead

    def test_several_objectives(self, monkeypatch, tmp_path):
        keys = {"objective": "throughput,memory", "space": {"accumulate": [1], "batch": [16, 64], "threads": [2]}}
        found = fake_tune(monkeypatch, tmp_path, **keys)
        assert page_of(found, "").headline == "2 plans on the Pareto front of throughput and peak memory"
        (table,) = section(found, "trade-off").tables
        assert [row[0] for row in table.rows] == [f"#{n}" for n in sorted(found.pareto, key=lambda n: -speed(found, n))]
        (plot,) = section(found, "trade-off").plots
        line = next(trace for trace in plot.figure["data"] if trace["name"] == "Pareto front")
        assert line["x"] == [116, 164]
        assert line["line"]["shape"] == "hv", "from one plan to the next, only the lower speed is sure"


def speed(tuning, number):
    return tuning.trial(number).values["throughput"]


class TestSections:
    def test_order(self, tuning):
        assert [each.name for each in page_of(tuning, "").sections] == (
            "finalists history trade-off slices parallel guard failures time use doubts environment trials"
        ).split()

    def test_finalists(self, tuning):
        (table,) = section(tuning, "finalists").tables
        assert table.rows[0][0] == f"#{tuning.winner_trial} · best"
        assert table.best == 0
        low, high = tuning.over_default.low, tuning.over_default.high
        assert f"{tuning.over_default.median:.2f}× [{low:.2f}, {high:.2f}]" in table.rows[0]
        assert "#0 · default" in [row[0] for row in table.rows]

    def test_history_tells_outcomes_apart(self, tuning):
        (plot,) = section(tuning, "history").plots
        counts = {trace["name"]: len(trace["x"]) for trace in plot.figure["data"]}
        ok = [t for t in tuning.trials if t.outcome == "ok"]
        assert counts["failed"] == len(tuning.trials) - len(ok)
        assert counts["measured"] + counts["cut short"] == len(ok)
        best = next(trace["y"] for trace in plot.figure["data"] if trace["name"] == "best so far")
        assert best == sorted(best)

    def test_failures_by_cause(self, tuning):
        (table,) = section(tuning, "failures").tables
        assert {row[0]: int(row[1]) for row in table.rows} == {
            outcome.value: len(numbers) for outcome, numbers in tuning.failures.items()
        }
        assert {row[0] for row in table.rows} == {"oom", "crash"}
        assert any("as told: oom" in row[2] and "batch 1024" in row[3] for row in table.rows)

    def test_no_failures(self, tuning):
        assert section(tuning.model_copy(update={"failures": {}}), "failures").texts == ("No trial failed.",)

    def test_slices_have_every_value(self, tuning):
        (table,) = section(tuning, "slices").tables
        keys = {
            key: [row[1] for row in table.rows if row[0] == key] for key in ("batch", "precision", "compile", "threads")
        }
        assert keys["batch"] == ["16", "32", "64", "128", "256", "512", "1024"]
        assert keys["threads"][0] == "auto"
        assert sum(int(row[2]) for row in table.rows if row[0] == "batch") == sum(
            t.outcome == "ok" for t in tuning.trials
        )

    def test_estimates_are_marked(self, tuning):
        left = {"remaining": 9, "remaining_s": 60.0, "likely_gain": 0.02, "likely_gain_high": 0.05}
        page = page_of(tuning.model_copy(update={"searched": tuning.searched.model_copy(update=left)}), "")
        assert [(each.value, each.kind) for each in page.numbers][-1] == ("2.0%", "estimated")
        assert rendered(page).count('class="kind">estimated<') == 1

    def test_command(self, tuning):
        (code,) = section(tuning, "environment").codes
        assert code.text.startswith("hal tune model=cnn backend=cpu 'space.threads=[null,1]' budget=100000 limit=1000 ")

    def test_figures_are_what_plotly_reads(self, tuning):
        for plot in (plot for each in page_of(tuning, "").sections for plot in each.plots):
            Figure(
                json.loads(re.sub(r'"@\w+"', '"#000000"', json.dumps(plot.figure)))
            )  # raises on a wrong key or value

    def test_colours_are_in_the_style_sheet(self, tuning):
        names = set(
            re.findall(r'"@(\w+)"', json.dumps([p.figure for s in page_of(tuning, "").sections for p in s.plots]))
        )
        assert names >= {"accent", "dot", "bad", "ramp0", "ramp4"}
        assert {name for name in names if len(re.findall(rf"--{name}: #", STYLE)) != 2} == set()


class TestPage:
    def test_needs_nothing_from_elsewhere(self, tuning):
        tags = read(tuning).tags
        held = [(tag, name, value) for tag, attributes in tags for name, value in attributes.items()]
        assert [each for each in held if each[1] in ("src", "href", "srcset", "action")] == [("link", "href", "data:,")]
        assert any("default-src 'none'" in str(value) for tag, _, value in held if tag == "meta")

    def test_every_plot_has_words(self, tuning):
        plots = [attributes for tag, attributes in read(tuning).tags if attributes.get("role") == "img"]
        assert len(plots) == sum(len(each.plots) for each in page_of(tuning, "").sections)
        assert all(len(each["aria-label"]) > 20 for each in plots)

    def test_text_stays_text(self, tuning):
        evil = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
        trials = tuple(t.model_copy(update={"message": evil}) for t in tuning.trials)
        changed = {
            "trials": trials,
            "notes": (evil,),
            "native_code": evil,
            "workload": tuning.workload.model_copy(update={"model": evil}),
            "device": replace(tuning.device, name=evil),
        }
        tame, wild = read(tuning), read(tuning.model_copy(update=changed), evil)
        kinds = {tag for tag, _ in wild.tags}
        assert "img" not in kinds
        assert sum(tag == "script" for tag, _ in wild.tags) == sum(tag == "script" for tag, _ in tame.tags)
        assert wild.text.count(evil) >= 5
        assert all("onerror" not in attributes for _, attributes in wild.tags)

    def test_contrast(self):
        """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what is drawn."""
        light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in STYLE.split("@media", 2)[:2])
        assert set(light) == set(dark)
        for colours in (light, dark):
            for name, least in {"ink": 7, "muted": 4.5, "accent": 4.5, "bad": 4.5, "dot": 3}.items():
                assert contrast(colours[name], colours["surface"]) >= least, name


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, bright = sorted([luminance(one), luminance(other)])
    return (bright + 0.05) / (dark + 0.05)


def test_written_elsewhere(tuning, tmp_path):
    from hal.errors import NotFoundError

    with pytest.raises(NotFoundError, match="cannot write"):
        write_report(tuning, tmp_path, tmp_path / "no" / "such" / "page.html")
