"""The report in a browser: opened from disk without a network, wide and narrow, light and dark."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright
from tuner_helpers import fake_tune

from hal.tuner.report import write_report
from hal.tuner.trial_result import Guard

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "</script><script>window.owned = 1</script><b>bold</b>"
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}

# What Plotly has drawn of each plot, beside what it was given.
DRAWN = """() => [...document.querySelectorAll(".canvas")].map((plot) => ({
  name: plot.id,
  drawn: plot.querySelectorAll(".points path.point, .points .point path").length,
  lines: plot.querySelectorAll("path.js-line").length,
  given: plot.data.map((t) => (t.mode ?? "markers").includes("markers") ? t.x.filter((x) => x !== null).length : 0)
    .reduce((a, b) => a + b, 0),
  withLines: plot.data.filter((t) => (t.mode ?? "").includes("lines")).length,
}))"""

# Texts in plots that leave their plot, and ticks that lie on each other.
MISPLACED = """() => [...document.querySelectorAll(".canvas")].flatMap((plot) => {
  const box = plot.getBoundingClientRect();
  const texts = [...plot.querySelectorAll("text")].filter((t) => t.textContent && t.getBoundingClientRect().width > 0);
  const outside = texts.filter((t) => {
    const r = t.getBoundingClientRect();
    return r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1;
  }).map((t) => `${plot.id}: ${t.textContent} leaves the plot`);
  const on = ["xtick", "ytick", "y2tick", "annotation", "legendtext"].flatMap((kind) => {
    const boxes = texts.filter((t) => t.closest(`.${kind}`)).map((t) => [t.textContent, t.getBoundingClientRect()]);
    return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) =>
      p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1
    ).map(([b]) => `${plot.id}: ${kind} ${a} lies on ${b}`));
  });
  return [...outside, ...on];
})"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        said = "no chromium is installed: apt-get install chromium"
        pytest.fail(said) if os.environ.get("CI") == "true" else pytest.skip(said)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


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


class Opened:
    """A page that was opened, with what went wrong on it."""

    def __init__(self, browser, path, size="wide", scheme="light"):
        width, height = SIZES[size]
        view = {"viewport": {"width": width, "height": height}, "has_touch": size == "narrow"}
        self.context = browser.new_context(offline=True, color_scheme=scheme, **view)
        self.page = self.context.new_page()
        self.wrong, self.asked = [], []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(f"html[data-drawn={scheme}]", state="attached")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()


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
