"""``hal report RUN``: what the page says, and how it looks in a browser."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from page_helpers import DRAWN, MISPLACED, SIZES, Opened, running_browser
from run_helpers import CNN, command, train

from hal.after.held_out import look_at_held_out
from hal.after.run_report import report_of_run
from hal.after.run_sections import page_of
from hal.errors import ConfigError, NotFoundError
from hal.run import read_record

EVIL = "<b>x</b>"
GAN = {
    "model": {"name": "gan", "size": 20, "noise": 4, "width": 4, "grid": 2},
    "backend": "cpu",
    "data": {"name": "synthetic:40"},
    "batch": 8,
    "threads": 1,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a classifier whose classes have odd names, and of a model that draws."""
    from PIL import Image

    root = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs", EVIL.replace("/", "_")):
        (root / "pictures" / name).mkdir(parents=True)
        for at in range(12):
            pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(root / "pictures" / name / f"{at}.png")
    base = {**CNN, "data": {"name": f"images:{root / 'pictures'}"}, "batch": 8}
    train(root / "pictures-run", base=base, epochs=12, lr=1e-3)
    train(root / "gan-run", base=GAN, epochs=2)
    return root


@pytest.fixture(scope="module")
def pages(runs):
    return {name: report_of_run(runs / name) for name in ("pictures-run", "gan-run")}


def test_what_it_says(runs, pages):
    text = pages["pictures-run"].read_text()
    record = read_record(runs / "pictures-run")
    assert f"in epoch {record.best_epoch}" in text
    for said in ("Each class", "taken for", "How to go on", "hal predict", "Every epoch", "data:image/png;base64,"):
        assert said in text
    assert EVIL not in text
    assert "What it gets wrong" not in pages["gan-run"].read_text()
    assert pages["gan-run"].read_text().count("pictures that the model drew") == 2


def test_the_matrix_agrees_with_the_metric(runs):
    record = read_record(runs / "pictures-run")
    look = look_at_held_out(runs / "pictures-run")
    assert look.confusion.sum() == record.samples["validation"]
    assert np.trace(look.confusion) / look.confusion.sum() == pytest.approx(record.best, abs=1e-6)
    assert len(look.mistakes) == min(24, look.confusion.sum() - np.trace(look.confusion))
    assert all(0 < mistake.share <= 1 and mistake.wanted != mistake.said for mistake in look.mistakes)
    assert list(look.mistakes) == sorted(look.mistakes, key=lambda mistake: -mistake.share)


def test_the_model_itself_says_what_its_outputs_are(runs, monkeypatch):
    monkeypatch.setattr("hal.nn.Model.probabilities", lambda self, outputs: np.tile([0.5, 0.3, 0.2], (len(outputs), 1)))
    look = look_at_held_out(runs / "pictures-run")
    assert look.mistakes
    assert {mistake.share for mistake in look.mistakes} == {0.5}
    monkeypatch.setattr("hal.nn.Model.gives_logits", lambda self, data, outputs: False)
    with pytest.raises(ConfigError, match="the 3 outputs of the model are no logits of the classes"):
        look_at_held_out(runs / "pictures-run")


def test_commands_can_be_copied(runs):
    folder = Path("runs of $mine") / "a b"
    page = page_of(read_record(runs / "gan-run"), folder, None, "")
    codes = next(section for section in page.sections if section.name == "use").codes
    words = [shlex.split(each.text) for each in codes if "runs of" in each.text]
    assert len(words) == 4
    assert all(str(folder) in [word.removeprefix("resume=") for word in each] for each in words)


def test_the_command(runs, tmp_path):
    done = command("report", runs / "pictures-run", "--out", tmp_path / "page.html")
    assert (done.exit_code, (tmp_path / "page.html").exists()) == (0, True)
    done = command("report", tmp_path)
    assert (done.exit_code, "contains neither a run nor a tuning" in done.stderr) == (2, True)


def test_without_the_data(runs, tmp_path):
    """The page says so; the curves need no data."""
    folder = shutil.copytree(runs / "pictures-run", tmp_path / "run")
    (runs / "pictures").rename(runs / "moved")
    try:
        text = report_of_run(folder).read_text()
    finally:
        (runs / "moved").rename(runs / "pictures")
    assert "The held-out samples could not be looked at" in text
    assert "How it learned" in text


def test_a_run_that_failed_before_its_first_epoch(runs, tmp_path):
    record = json.loads((runs / "gan-run" / "record.json").read_text())
    record |= {"epochs": [], "status": "failed", "error": "it broke", "best": None, "files": []}
    (tmp_path / "record.json").write_text(json.dumps(record))
    text = report_of_run(tmp_path).read_text()
    assert "failed after 0 epochs" in text
    assert "it broke" in text
    with pytest.raises(NotFoundError):
        report_of_run(tmp_path / "nowhere")


def test_epochs_csv(runs):
    record = read_record(runs / "pictures-run")
    with (runs / "pictures-run" / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [epoch.epoch for epoch in record.epochs]
    assert [float(row["validation_accuracy"]) for row in rows] == [e.validation["accuracy"] for e in record.epochs]
    assert [float(row["train_loss"]) for row in rows] == [epoch.train["loss"] for epoch in record.epochs]


@pytest.fixture(scope="module")
def browser():
    with running_browser() as running:
        yield running


@pytest.mark.parametrize(
    ("name", "size", "scheme"),
    [
        ("pictures-run", "wide", "light"),
        ("pictures-run", "narrow", "dark"),
        ("gan-run", "wide", "dark"),
        ("gan-run", "narrow", "light"),
    ],
)
def test_everything_is_drawn_in_its_place(browser, pages, name, size, scheme):
    with Opened(browser, pages[name], size, scheme) as opened:
        page = opened.page
        assert opened.wrong == []
        assert [url for url in opened.asked if not url.startswith("data:")] == [pages[name].as_uri()]
        for plot in page.evaluate(DRAWN):
            assert plot["drawn"] == plot["given"], plot
            assert plot["lines"] >= plot["withLines"], plot
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        page.evaluate("document.querySelectorAll('img').forEach((each) => { each.loading = 'eager'; })")
        page.wait_for_timeout(100)
        assert page.evaluate("[...document.images].filter((each) => !each.naturalWidth).length") == 0
        assert page.evaluate("document.scrollingElement.scrollWidth") <= SIZES[size][0]
        assert page.evaluate(MISPLACED) == []
