"""A browser for the tests of pages: opened from disk without a network, wide and narrow, light and dark."""

import contextlib
import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}

# What Plotly has drawn of each plot, beside what it was given.
DRAWN = """() => [...document.querySelectorAll(".canvas")].map((plot) => ({
  name: plot.id,
  drawn: plot.querySelectorAll(".points path.point, .points .point path").length,
  lines: plot.querySelectorAll("path.js-line").length,
  given: plot.data.filter((t) => t.type !== "heatmap" && (t.mode ?? "markers").includes("markers"))
    .map((t) => t.x.filter((x) => x !== null).length)
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


@contextlib.contextmanager
def running_browser():
    """Chromium; skips where it is not installed, and fails in CI."""
    if CHROMIUM is None:
        said = "no chromium is installed: apt-get install chromium"
        pytest.fail(said) if os.environ.get("CI") == "true" else pytest.skip(said)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


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
