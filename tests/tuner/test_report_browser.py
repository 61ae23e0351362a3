"""The report in a browser: opened from disk without a network, wide and narrow, light and dark."""

import pytest
from page_helpers import DRAWN, MISPLACED, SIZES, Opened, running_browser
from tuner_helpers import fake_tune

from hal.tuner.report import write_report
from hal.tuner.trial_result import Guard

EVIL = "</script><script>window.owned = 1</script><b>bold</b>"


@pytest.fixture(scope="module")
def browser():
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page with failures, one with a Pareto front, and one of a tuning in which nothing worked."""
    path = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        some = {"batch=1024 precision=bf16": "oom", "batch=16": "segv", "batch=64 precision=bf16": "failed"}
        space = {"threads": [None], "batch": [16, 64, 256, 512, 1024]}
        failures = fake_tune(patch, path, some, out=str(path / "failures"), space=space)
        front = {"objective": "throughput,memory", "space": {"accumulate": [1], "threads": [None]}}
        fake_tune(patch, path, out=str(path / "front"), trials=12, **front)
        none = {"precision=fp32": "nan", "precision=bf16": "nan"}
        fake_tune(patch, path, none, out=str(path / "nothing"), space={"batch": [16]}, trials=2)
    guard = Guard(passed=True, steps=8, loss_error=0.01, loss_tolerance=0.1, cosine=0.99, cosine_tolerance=0.95)
    trials = []
    for trial in failures.trials:
        changed = {"message": EVIL} if trial.message else {"guard": guard} if trial.guard is not None else {}
        trials.append(trial.model_copy(update=changed))
    write_report(failures.model_copy(update={"trials": tuple(trials), "notes": (EVIL,)}), path / "failures")
    return {name: path / name / "report.html" for name in ("failures", "front", "nothing")}


@pytest.fixture(scope="module")
def opened(browser, pages):
    """The page with failures, for tests that leave it as it was."""
    with Opened(browser, pages["failures"]) as page:
        yield page


@pytest.mark.parametrize(
    ("name", "plots", "size", "scheme"),
    [
        ("failures", 9, "wide", "light"),
        ("failures", 9, "narrow", "dark"),
        ("front", 9, "wide", "dark"),
        ("front", 9, "narrow", "light"),
        ("nothing", 1, "narrow", "light"),
    ],
)
def test_everything_is_drawn_in_its_place(browser, pages, name, plots, size, scheme):
    with Opened(browser, pages[name], size, scheme) as opened:
        page = opened.page
        assert opened.wrong == []
        assert [url for url in opened.asked if not url.startswith("data:")] == [pages[name].as_uri()]
        drawn = page.evaluate(DRAWN)
        assert len(drawn) == page.locator("script[data-plot]").count() == plots
        for plot in drawn:
            assert plot["drawn"] == plot["given"] > 0, plot
            assert plot["lines"] >= plot["withLines"], plot
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= SIZES[size][0]
        assert page.evaluate(MISPLACED) == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 23)"
        assert dark == (scheme == "dark")


def until(page, expression):
    """Wait until an expression is true. Playwright's own way to wait needs eval, which the page forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not true in 10 s: {expression}")


def test_plots_follow_scheme_and_width(browser, pages):
    with Opened(browser, pages["front"]) as opened:
        fill = "getComputedStyle(document.querySelector('.xtick text')).fill"
        light = opened.page.evaluate(fill)
        opened.page.emulate_media(color_scheme="dark")
        opened.page.wait_for_selector("html[data-drawn=dark]", state="attached")
        assert opened.page.evaluate(fill) != light
        opened.page.set_viewport_size({"width": 400, "height": 800})
        until(
            opened.page, "[...document.querySelectorAll('.canvas .main-svg')].every((each) => each.clientWidth < 400)"
        )
        assert opened.page.evaluate(MISPLACED) == []
        assert opened.wrong == []


def test_text_stays_text(opened):
    page = opened.page
    assert page.evaluate("window.owned") is None
    assert page.locator("main b").count() == 0
    assert page.get_by_text(EVIL).count() > 1
    failed = "document.getElementById('plot-history-throughput').data.find((each) => each.name === 'failed')"
    texts = page.evaluate(f"{failed}.hovertext")
    assert all("<b>" not in t and "&lt;b&gt;bold&lt;/b&gt;" in t.replace("<br>", "") for t in texts)


def test_a_value_picks_its_plans(opened):
    shown = "document.getElementById('plot-parallel').data.flatMap((t) => t.y).filter((y) => y === 0).length"
    everything = opened.page.evaluate(shown)
    values = opened.page.locator("#plot-parallel .annotation")
    count = values.count()
    values.filter(has_text="512").click()
    until(opened.page, f"{shown} < {everything}")
    assert opened.page.evaluate(shown) > 0
    assert values.count() == count, "values are dimmed, not taken away"
    values.filter(has_text="512").click()
    until(opened.page, f"{shown} === {everything}")
    assert opened.wrong == []


def test_code_is_copied(opened, pages):
    page = opened.page
    best = (pages["failures"].parent / "best.yaml").read_text().rstrip()
    page.get_by_role("button", name="Copy: On any machine").click()
    page.get_by_text("Copied").wait_for()
    page.evaluate("document.body.appendChild(document.createElement('textarea')).focus()")
    page.keyboard.press("Control+V")
    assert page.locator("textarea").input_value() == best
