"""Turns a page into HTML: one file that holds its style, its scripts and its figures."""

from __future__ import annotations

import functools
from pathlib import Path

from hal.page.parts import Page

__all__ = ["rendered"]


def rendered(page: Page) -> str:
    """A page as HTML. All its text is escaped, also inside the figures."""
    # These take long to load, so only who writes a page loads them.
    import jinja2
    from markupsafe import Markup
    from plotly.io import to_json
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    )
    figures = {
        plot.name: Markup(to_json(plot.figure, validate=False, engine="json"))  # which escapes <, > and /
        for section in page.sections
        for plot in section.plots
    }
    return environment.get_template("page.html").render(
        page=page,
        figures=figures,
        style=Markup(_file("style.css")),
        script=Markup(_file("page.js")),
        plotly=Markup(get_plotlyjs()),
    )


@functools.cache
def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
